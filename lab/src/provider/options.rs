//! The options that choose machines, as somebody writes them to choose the same again.

use crate::guest::image::Release;
use crate::provider::choice::Choice;
use crate::provider::multipass::shape::Shape;
use crate::provider::qemu::accel::Choice as Accel;

impl Choice {
    /// The options that say this choice on a command line, without those that say what is taken anyway; `usual` is the
    /// provider that is taken where none is named.
    pub fn options(&self, usual: &str) -> Vec<String> {
        let mut options = Vec::new();
        let mut say = |option: &str, value: Option<String>, default: Option<&str>| {
            if let Some(value) = value.filter(|value| Some(value.as_str()) != default) {
                options.extend([format!("--{option}"), value]);
            }
        };
        match self {
            Choice::Qemu { accel, guest, seed } => {
                say("provider", (usual != "qemu").then(|| "qemu".to_owned()), None);
                let accel = match accel {
                    Accel::Auto => None,
                    Accel::Kvm => Some("kvm"),
                    Accel::Tcg => Some("tcg"),
                };
                say("guest", Some(guest.name.clone()), Some(&Release::usual().name));
                say("accel", accel.map(str::to_owned), None);
                say("seed", seed.map(|seed| seed.to_string()), None);
            }
            Choice::Multipass { shape: Shape { image, cpus, memory, disk, launch_limit_s }, .. } => {
                let default = Shape::default();
                say("provider", Some("multipass".to_owned()), None);
                say("image", Some(image.clone()), Some(&default.image));
                say("cpus", Some(cpus.to_string()), Some(&default.cpus.to_string()));
                say("memory", Some(memory.clone()), Some(&default.memory));
                say("disk", Some(disk.clone()), Some(&default.disk));
                let limit = default.launch_limit_s.to_string();
                say("launch-limit", Some(launch_limit_s.to_string()), Some(&limit));
            }
            Choice::Ssh { hosts, .. } => {
                say("provider", Some("ssh".to_owned()), None);
                say("hosts", Some(hosts.display().to_string()), None);
            }
        }
        say("build", self.build().map(|place| place.to_string()), None);
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::remote::place::Place;

    #[test]
    fn options_choose_the_same_again() {
        let text = |choice: &Choice, usual: &str| choice.options(usual).join(" ");
        let usual = Release::usual();
        let qemu = Choice::Qemu { accel: Accel::Auto, guest: usual, seed: None };
        assert_eq!(
            (text(&qemu, "qemu"), text(&qemu, "multipass")),
            (String::new(), "--provider qemu".to_owned())
        );
        let guest = Release::all().iter().find(|release| *release != usual).unwrap();
        let seeded = Choice::Qemu { accel: Accel::Tcg, guest, seed: Some(7) };
        assert_eq!(text(&seeded, "qemu"), format!("--guest {} --accel tcg --seed 7", guest.name));
        let usual = Choice::Multipass { shape: Shape::default(), build: None };
        assert_eq!(text(&usual, "multipass"), "--provider multipass");
        let shape = Shape { image: "22.04".to_owned(), cpus: 4, launch_limit_s: 3600, ..Shape::default() };
        let other = Choice::Multipass { shape, build: Some(Place::Guest) };
        assert_eq!(
            text(&other, "qemu"),
            "--provider multipass --image 22.04 --cpus 4 --launch-limit 3600 --build guest"
        );
        let hosts = Choice::Ssh { hosts: "/h.toml".into(), build: None };
        assert_eq!(text(&hosts, "qemu"), "--provider ssh --hosts /h.toml");
    }
}
