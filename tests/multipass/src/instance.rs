//! One instance, as clients see it.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// An instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: State,
    /// Its addresses, where it runs.
    #[serde(default)]
    pub ipv4: Vec<String>,
    /// The release of its image, as `list` names it; empty for an image from elsewhere.
    #[serde(default)]
    pub image_release: String,
    /// The hash of its image.
    #[serde(default)]
    pub image_hash: String,
    /// How many snapshots it has.
    #[serde(default)]
    pub snapshots: u32,
    /// What its guest says, where it runs.
    #[serde(default)]
    pub guest: Option<Guest>,
}

/// What a guest says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Guest {
    /// Its release.
    pub release: String,
    /// Its processors.
    pub cpu_count: u32,
    /// Its disk's size and use, in bytes.
    pub disk: (u64, u64),
    /// Its load.
    pub load: [f64; 3],
    /// Its memory's size and use, in bytes.
    pub memory: (u64, u64),
}

/// The states of Multipass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// It runs.
    Running,
    /// It is off.
    Stopped,
    /// It is deleted, and can be recovered.
    Deleted,
    /// It starts.
    Starting,
    /// It is suspended.
    Suspended,
    /// It runs, or boots for the first time, and Multipass cannot reach it.
    Unknown,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What `info` says of some instances, as JSON.
pub fn info_json(instances: &[Instance]) -> Value {
    let mut sorted: Vec<&Instance> = instances.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let fields = sorted.into_iter().map(|instance| (instance.name.clone(), instance.json()));
    json!({ "errors": [], "info": fields.collect::<Map<_, _>>() })
}

/// What `list` says of all instances, as JSON: the deleted ones last.
pub fn list_json(instances: &[Instance]) -> Value {
    let list: Vec<Value> = listed(instances)
        .into_iter()
        .map(|instance| {
            json!({
                "ipv4": instance.ipv4,
                "name": instance.name,
                "release": instance.listed_release(),
                "state": instance.state.to_string(),
            })
        })
        .collect();
    json!({ "list": list })
}

/// What `list` says, as text.
pub fn list_text(instances: &[Instance]) -> String {
    if instances.is_empty() {
        return "No instances found.\n".to_owned();
    }
    let mut text = format!("{:<24}{:<18}{:<17}{}\n", "Name", "State", "IPv4", "Image");
    for instance in listed(instances) {
        let mut addresses = instance.ipv4.iter().map(String::as_str);
        let first = addresses.next().unwrap_or("--");
        let release = instance.listed_release();
        text.push_str(&format!(
            "{:<24}{:<18}{first:<17}{release}\n",
            instance.name,
            instance.state.to_string()
        ));
        for address in addresses {
            text.push_str(&format!("{:<42}{address}\n", ""));
        }
    }
    text
}

/// What `info` says, as text.
pub fn info_text(instances: &[Instance]) -> String {
    let texts: Vec<String> = instances.iter().map(Instance::text).collect();
    texts.join("\n")
}

fn listed(instances: &[Instance]) -> Vec<&Instance> {
    let mut sorted: Vec<&Instance> = instances.iter().collect();
    sorted.sort_by(|a, b| (a.state == State::Deleted, &a.name).cmp(&(b.state == State::Deleted, &b.name)));
    sorted
}

impl Instance {
    fn listed_release(&self) -> String {
        match self.image_release.as_str() {
            "" => "Not Available".to_owned(),
            release => format!("Ubuntu {release}"),
        }
    }

    fn json(&self) -> Value {
        let guest = self.guest.as_ref();
        let disk = guest.map_or(
            json!({}),
            |guest| json!({ "total": guest.disk.0.to_string(), "used": guest.disk.1.to_string() }),
        );
        let memory =
            guest.map_or(json!({}), |guest| json!({ "total": guest.memory.0, "used": guest.memory.1 }));
        json!({
            "cpu_count": guest.map_or(String::new(), |guest| guest.cpu_count.to_string()),
            "disks": { "sda1": disk },
            "image_hash": self.image_hash,
            "image_release": self.image_release,
            "ipv4": self.ipv4,
            "load": guest.map_or(vec![], |guest| guest.load.to_vec()),
            "memory": memory,
            "mounts": {},
            "release": guest.map_or("", |guest| &guest.release),
            "snapshot_count": self.snapshots.to_string(),
            "state": self.state.to_string(),
        })
    }

    fn text(&self) -> String {
        let guest = self.guest.as_ref();
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "--".to_owned());
        let rows = [
            ("Name:", self.name.clone()),
            ("State:", self.state.to_string()),
            ("Snapshots:", self.snapshots.to_string()),
            ("IPv4:", or_none((!self.ipv4.is_empty()).then(|| self.ipv4.join(&format!("\n{:<16}", ""))))),
            ("Release:", or_none(guest.map(|guest| guest.release.clone()))),
            ("Image hash:", self.hash_text()),
            ("CPU(s):", or_none(guest.map(|guest| guest.cpu_count.to_string()))),
            ("Load:", or_none(guest.map(|guest| guest.load.map(|load| format!("{load:.2}")).join(" ")))),
            ("Disk usage:", or_none(guest.map(|guest| usage(guest.disk)))),
            ("Memory usage:", or_none(guest.map(|guest| usage(guest.memory)))),
            ("Mounts:", "--".to_owned()),
        ];
        rows.map(|(name, value)| format!("{name:<16}{value}\n")).concat()
    }

    fn hash_text(&self) -> String {
        let short = self.image_hash.get(..12).unwrap_or(&self.image_hash);
        match self.image_release.as_str() {
            "" => short.to_owned(),
            release => format!("{short} (Ubuntu {release})"),
        }
    }
}

fn usage((total, used): (u64, u64)) -> String {
    format!("{} out of {}", size(used), size(total))
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn size(bytes: u64) -> String {
    match bytes {
        0..0x40_0000 => format!("{:.1}KiB", bytes as f64 / 1024.0),
        0x40_0000..0x4000_0000 => format!("{:.1}MiB", bytes as f64 / f64::from(1 << 20)),
        _ => format!("{:.1}GiB", bytes as f64 / f64::from(1 << 30)),
    }
}
