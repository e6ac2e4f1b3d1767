//! KVM or software emulation: a ladder, said out loud.
//!
//! A host's `/dev/kvm` may be absent, closed to the user, or open and yet boot no guest. The only proof is a
//! guest's own output: a probe boots the image's kernel until its init speaks. The verdict is kept in the
//! cache for as long as nothing it depends on changes.

use std::fmt;
use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::cache::{Cache, sha256, write_record};
use crate::base::command::{Command, tail};
use crate::base::error::{Error, Kind, Result};
use crate::base::invocation;
use crate::base::progress::Step;
use crate::base::selection::AccelChoice;
use crate::guest::image::Image;
use crate::host::toolbox::Tool;
use crate::host::toolbox::set::QEMU;
use crate::host::toolbox::toolbox::identity;

const DEVICE: &str = "/dev/kvm";

/// Longest time that a guest on KVM may take until its init speaks; it takes a second or two.
const PROBE_LIMIT: Duration = Duration::from_secs(8);

/// Line that the initramfs prints when the kernel's command line has `lab.probe`.
const PROBE_ANSWER: &str = "lab: probe answered";

/// Executor of a guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accel {
    /// The processor, through KVM.
    Kvm,
    /// QEMU's own translator: everywhere, and ten times slower.
    Tcg,
}

impl fmt::Display for Accel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Accel::Kvm => "kvm",
            Accel::Tcg => "tcg",
        })
    }
}

impl From<Accel> for AccelChoice {
    fn from(accel: Accel) -> AccelChoice {
        match accel {
            Accel::Kvm => AccelChoice::Kvm,
            Accel::Tcg => AccelChoice::Tcg,
        }
    }
}

/// The accelerator of machines, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The accelerator.
    pub accel: Accel,
    /// The reason, in a few words.
    pub reason: String,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.accel {
            Accel::Kvm => "KVM",
            Accel::Tcg => "software emulation (TCG)",
        };
        write!(f, "{name}: {}", self.reason)
    }
}

/// Verdict on KVM here, as last found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ProbeVerdict {
    key: String,
    works: bool,
    /// In a few words.
    reason: String,
    /// Words of QEMU, and the guest's console, as they were.
    #[serde(default)]
    seen: String,
    /// Of all the above; an older kit left it out.
    #[serde(default)]
    sum: Option<String>,
}

impl ProbeVerdict {
    fn new(key: String, works: bool, reason: String, seen: String) -> ProbeVerdict {
        let mut verdict = ProbeVerdict { key, works, reason, seen, sum: None };
        verdict.sum = Some(verdict.summed());
        verdict
    }

    fn summed(&self) -> String {
        sha256(format!("{}\0{}\0{}\0{}", self.key, self.works, self.reason, self.seen).as_bytes())
    }

    /// True if it is as it was written.
    fn is_whole(&self) -> bool {
        self.sum.as_ref().is_none_or(|sum| *sum == self.summed())
    }
}

/// Chooses an accelerator; probes KVM, with an image that is asked for then, only where the cached verdict does not fit this
/// host any more.
///
/// # Errors
///
/// KVM was asked for and does not work, or the probe could not be started.
pub fn decide(
    choice: AccelChoice,
    cache: &Cache,
    image: &dyn Fn() -> Result<Image>,
    qemu: &Tool,
) -> Result<Decision> {
    if choice == AccelChoice::Tcg {
        return Ok(Decision { accel: Accel::Tcg, reason: "asked for".to_owned() });
    }
    let verdict = match closed() {
        Some(reason) => ProbeVerdict::new(String::new(), false, reason, String::new()),
        None => match cached(cache, Some(qemu)) {
            Some(verdict) => verdict,
            None => probe(cache, &image()?, qemu)?,
        },
    };
    conclude(choice, verdict)
}

/// Probes again whatever the cache says, and remembers the result.
///
/// # Errors
///
/// As [`decide`].
pub fn decide_anew(choice: AccelChoice, cache: &Cache, image: &Image, qemu: &Tool) -> Result<Decision> {
    match closed() {
        Some(_) => {}
        None => drop(probe(cache, image, qemu)?),
    }
    decide(choice, cache, &|| Ok(image.clone()), qemu)
}

/// Tells what is known without starting anything: the verdict of an earlier probe, or why there is none.
pub fn known(cache: &Cache) -> String {
    match (closed(), cached(cache, None)) {
        (Some(reason), _) => Decision { accel: Accel::Tcg, reason }.to_string(),
        (None, Some(verdict)) => match conclude(AccelChoice::Auto, verdict) {
            Ok(decision) => decision.to_string(),
            Err(error) => error.to_string(),
        },
        (None, None) => {
            format!(
                "not known yet: {DEVICE} opens, whether it boots a guest shows `{}`",
                invocation::program("doctor --probe")
            )
        }
    }
}

fn conclude(choice: AccelChoice, verdict: ProbeVerdict) -> Result<Decision> {
    match (verdict.works, choice) {
        (true, _) => Ok(Decision { accel: Accel::Kvm, reason: verdict.reason }),
        (false, AccelChoice::Kvm) => {
            Err(Error::new(Kind::Boot, format!("KVM does not work here: {}", verdict.reason)).next(format!(
                "leave out `--accel kvm` for software emulation, or try again after a change with `{}`",
                invocation::program("doctor --probe")
            )))
        }
        (false, _) => Ok(Decision { accel: Accel::Tcg, reason: verdict.reason }),
    }
}

/// Reason that KVM is out of the question, if `/dev/kvm` cannot even be opened.
fn closed() -> Option<String> {
    let error = File::options().read(true).write(true).open(DEVICE).err()?;
    Some(match error.kind() {
        std::io::ErrorKind::NotFound => format!("this host has no {DEVICE}"),
        std::io::ErrorKind::PermissionDenied => {
            format!("{DEVICE}: permission denied (cure: sudo usermod -aG kvm $USER, then log in again)")
        }
        _ => format!("{DEVICE}: {error}"),
    })
}

/// The verdict that fits this host, and this QEMU if one is given.
fn cached(cache: &Cache, qemu: Option<&Tool>) -> Option<ProbeVerdict> {
    let text = fs::read_to_string(cache.path("accel.json")).ok()?;
    let verdict: ProbeVerdict = serde_json::from_str(&text).ok()?;
    let fits = match qemu {
        Some(qemu) => verdict.key == key(qemu),
        None => verdict.key.starts_with(&host_key()),
    };
    (fits && verdict.is_whole()).then_some(verdict)
}

/// All that the verdict depends on: this boot, this kernel, these rights, this QEMU.
fn key(qemu: &Tool) -> String {
    host_key() + &qemu.identity
}

fn host_key() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let device = identity(Path::new(DEVICE));
    format!("{} {} {device} ", boot.trim(), kernel.trim())
}

/// Boots the image's kernel on KVM until its init speaks.
fn probe(cache: &Cache, image: &Image, qemu: &Tool) -> Result<ProbeVerdict> {
    let step = Step::begin("probe: does KVM boot a guest");
    let scratch = cache.scratch()?;
    let console = scratch.path().join("console");
    let run = match probe_command(qemu, image, &console).output(PROBE_LIMIT) {
        Err(error) if error.kind() != Kind::Timeout => return Err(error),
        run => run.ok(),
    };
    let text =
        fs::read(&console).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let mut seen = text.clone();
    let (works, reason) = match run {
        _ if text.contains(PROBE_ANSWER) => (true, "a guest answered on it".to_owned()),
        Some(output) => {
            seen.push_str(&output.stderr);
            (false, format!("{DEVICE} opens, but QEMU on it ended at once: {}", gist(&output.stderr)))
        }
        None => {
            let seen = if text.is_empty() { "nothing" } else { "no answer" };
            let seconds = PROBE_LIMIT.as_secs();
            (
                false,
                format!(
                    "{DEVICE} opens, but no guest boots on it ({seen} from its kernel within {seconds} s)"
                ),
            )
        }
    };
    let verdict = ProbeVerdict::new(key(qemu), works, reason, seen);
    write_record(&cache.path("accel.json"), &verdict)?;
    step.done(if works { "yes" } else { "no" });
    Ok(verdict)
}

/// Part of QEMU's last words that a person needs: its own name and the place in its source left out.
fn gist(stderr: &str) -> String {
    let last = tail(stderr, 1);
    let words = last.strip_prefix(QEMU).map_or(last.as_str(), |rest| rest.trim_start_matches(':')).trim();
    match words.split_once(": Assertion ") {
        Some((place, _)) => {
            let function = place.rsplit(": ").next().unwrap_or_default();
            format!("an assertion failed in {function}")
        }
        None if words.is_empty() => "it said nothing".to_owned(),
        None => words.to_owned(),
    }
}

fn probe_command(qemu: &Tool, image: &Image, console: &Path) -> Command {
    qemu.command()
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
        .args(["-machine", "q35,accel=kvm", "-cpu", "host", "-m", "256"])
        .arg("-kernel")
        .arg(image.kernel())
        .arg("-initrd")
        .arg(image.initrd())
        .args(["-append", "console=ttyS0 panic=-1 lab.probe"])
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn qemu(identity: &str) -> Tool {
        Tool { argv: vec![QEMU.into()], env: Vec::new(), identity: identity.to_owned() }
    }

    fn verdict(works: bool) -> ProbeVerdict {
        ProbeVerdict::new(key(&qemu("10")), works, "because".to_owned(), String::new())
    }

    #[test]
    fn gist_of_qemus_words_is_short() {
        let assertion = "x\nqemu-system-x86_64: ../../target/i386/kvm/kvm.c:3183: kvm_buf_set_msrs: \
                         Assertion `ret == cpu->kvm_msr_buf->nmsrs' failed.\n";
        assert_eq!(gist(assertion), "an assertion failed in kvm_buf_set_msrs");
        assert_eq!(
            gist("qemu-system-x86_64: failed to initialize kvm: Busy\n"),
            "failed to initialize kvm: Busy"
        );
        assert_eq!(gist(""), "it said nothing");
    }

    #[test]
    fn kvm_that_does_not_work_is_replaced_or_refused() {
        let decision = conclude(AccelChoice::Auto, verdict(false)).unwrap();
        assert_eq!(decision.to_string(), "software emulation (TCG): because");
        let error = conclude(AccelChoice::Kvm, verdict(false)).unwrap_err();
        assert!(error.to_string().starts_with("KVM does not work here: because"), "{error}");
        assert_eq!(conclude(AccelChoice::Kvm, verdict(true)).unwrap().accel, Accel::Kvm);
    }

    #[test]
    fn verdict_of_another_boot_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path().to_owned()).unwrap();
        let keep = |verdict: &ProbeVerdict| {
            fs::write(cache.path("accel.json"), serde_json::to_string(verdict).unwrap()).unwrap();
        };
        keep(&verdict(true));
        assert_eq!(cached(&cache, Some(&qemu("10"))), Some(verdict(true)));
        assert_eq!(cached(&cache, None), Some(verdict(true)));
        assert_eq!(cached(&cache, Some(&qemu("11"))), None);
        keep(&ProbeVerdict { reason: "becauze".to_owned(), ..verdict(true) });
        assert_eq!(cached(&cache, None), None);
        keep(&ProbeVerdict { key: "another boot".to_owned(), ..verdict(true) });
        assert_eq!(cached(&cache, None), None);
        fs::write(cache.path("accel.json"), "{").unwrap();
        assert_eq!(cached(&cache, None), None);
    }
}
