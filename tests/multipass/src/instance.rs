//! One instance, as clients see it.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// An instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StandInInstance {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: InstanceState,
    /// Its addresses, where it runs.
    #[serde(default)]
    pub ipv4: Vec<String>,
    /// The release of its image, as `list` names it; empty for an image from elsewhere.
    #[serde(default)]
    pub image_release: String,
    /// The hash of its image.
    #[serde(default)]
    pub image_hash: String,
    /// Number of its snapshots.
    #[serde(default)]
    pub snapshots: u32,
    /// Release that its guest names, where it runs and was asked.
    #[serde(default)]
    pub release: String,
}

/// The states of Multipass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum InstanceState {
    /// Running.
    Running,
    /// Off.
    Stopped,
    /// Deleted, and can be recovered.
    Deleted,
    /// Starting.
    Starting,
    /// Suspended.
    Suspended,
    /// Running or booting for the first time, out of reach of Multipass.
    Unknown,
}

impl fmt::Display for InstanceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Output of `info` on some instances, as JSON.
pub fn info_json(instances: &[StandInInstance]) -> Value {
    let mut sorted: Vec<&StandInInstance> = instances.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let fields = sorted.into_iter().map(|instance| (instance.name.clone(), instance.json()));
    json!({ "errors": [], "info": fields.collect::<Map<_, _>>() })
}

/// Output of `list` on all instances, as JSON: the deleted ones last.
pub fn list_json(instances: &[StandInInstance]) -> Value {
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

fn listed(instances: &[StandInInstance]) -> Vec<&StandInInstance> {
    let mut sorted: Vec<&StandInInstance> = instances.iter().collect();
    sorted.sort_by(|a, b| {
        (a.state == InstanceState::Deleted, &a.name).cmp(&(b.state == InstanceState::Deleted, &b.name))
    });
    sorted
}

impl StandInInstance {
    fn listed_release(&self) -> String {
        match self.image_release.as_str() {
            "" => "Not Available".to_owned(),
            release => format!("Ubuntu {release}"),
        }
    }

    /// Of what a guest says only its release and addresses: nothing here reads the rest.
    fn json(&self) -> Value {
        json!({
            "cpu_count": "",
            "disks": { "sda1": {} },
            "image_hash": self.image_hash,
            "image_release": self.image_release,
            "ipv4": self.ipv4,
            "load": [],
            "memory": {},
            "mounts": {},
            "release": self.release,
            "snapshot_count": self.snapshots.to_string(),
            "state": self.state.to_string(),
        })
    }
}
