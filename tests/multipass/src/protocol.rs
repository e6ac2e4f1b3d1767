//! Requests of a client to its daemon, one line of JSON each; and the notices that answer one, a line each, until the last.

use serde::{Deserialize, Serialize};

use crate::instance::StandInInstance;

/// Request of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientRequest {
    /// The daemon's version.
    Version,
    /// A new instance.
    Launch(Launch),
    /// All of these, or every one.
    Info {
        /// Their names.
        names: Vec<String>,
        /// True to ask their guests, too.
        runtime: bool,
    },
    /// Every instance.
    List,
    /// The way into an instance.
    Reach {
        /// Its name.
        name: String,
        /// Purpose of it.
        purpose: Purpose,
    },
    /// Start these.
    Start {
        /// Their names.
        names: Vec<String>,
    },
    /// Stop these.
    Stop {
        /// Their names.
        names: Vec<String>,
        /// True to cut their power.
        force: bool,
    },
    /// Suspend these.
    Suspend {
        /// Their names.
        names: Vec<String>,
    },
    /// Delete these.
    Delete {
        /// Their names.
        names: Vec<String>,
        /// True to delete for good.
        purge: bool,
    },
    /// Recover these.
    Recover {
        /// Their names.
        names: Vec<String>,
    },
    /// A setting.
    Get {
        /// Its key.
        key: String,
    },
}

/// Purpose of a way into an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// A command.
    Exec,
    /// A file.
    Transfer,
}

/// An instance to launch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// The image: a release, an alias or an address.
    pub image: String,
    /// The instance's name.
    pub name: String,
    /// Its processors.
    pub cpus: String,
    /// Its memory, as given.
    pub memory: String,
    /// Its disk, as given.
    pub disk: String,
    /// User data for cloud-init.
    pub user_data: Option<String>,
}

/// Notice to a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// Step under way, for the spinner.
    Step(String),
    /// Done.
    Done,
    /// Done, with this text.
    Text(String),
    /// Failed; `X failed: ` comes before it.
    Failed(String),
    /// The instance does not come up within the client's limit.
    TimedOut,
    /// Instances.
    Instances(Vec<StandInInstance>),
    /// The words that reach an instance, and its address; a command may follow.
    Reached(Vec<String>, String),
}

impl Notice {
    /// True if nothing follows.
    pub fn is_last(&self) -> bool {
        !matches!(self, Notice::Step(_))
    }
}

/// A size such as `768M`, in bytes.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sizes are positive and small")]
pub fn size_bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_uppercase();
    let text = text.strip_suffix("IB").or(text.strip_suffix('B')).unwrap_or(&text);
    let (number, unit) = match text.char_indices().last()? {
        (at, 'K') => (&text[..at], 1_u64 << 10),
        (at, 'M') => (&text[..at], 1 << 20),
        (at, 'G') => (&text[..at], 1 << 30),
        _ => return text.parse().ok(),
    };
    let number: f64 = number.parse().ok().filter(|number| *number >= 0.0)?;
    #[expect(clippy::cast_precision_loss, reason = "a power of two")]
    Some((number * unit as f64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_what_multipass_takes() {
        for (text, bytes) in [("768M", 768 << 20), ("0.5G", 512 << 20), ("42MiB", 42 << 20), ("1234B", 1234)]
        {
            assert_eq!(size_bytes(text), Some(bytes), "{text}");
        }
        for text in ["lots", "5X", "", "-1G"] {
            assert_eq!(size_bytes(text), None, "{text}");
        }
    }
}
