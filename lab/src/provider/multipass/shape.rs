//! Shape of what is launched: the image and the sizes of each instance.

use crate::base::error::{Error, Result};

/// Image and sizes of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// The image, as `multipass find` names it, or its address.
    pub image: String,
    /// Processors of each.
    pub cpus: u32,
    /// Memory of each, as in "2G".
    pub memory: String,
    /// Disk of each, as in "10G".
    pub disk: String,
    /// Longest time that one may take to launch, and to start, in seconds.
    pub launch_limit_s: u64,
}

impl Default for Shape {
    fn default() -> Shape {
        Shape {
            image: "24.04".to_owned(),
            cpus: 2,
            memory: "2G".to_owned(),
            disk: "10G".to_owned(),
            launch_limit_s: 1200,
        }
    }
}

impl Shape {
    /// Refuses what is no size or number at all; what is too small is Multipass's to say.
    ///
    /// # Errors
    ///
    /// One is none: which, as a mistake of the user's.
    pub fn check(&self) -> Result<()> {
        for (option, text, usual) in [("memory", &self.memory, "2G"), ("disk", &self.disk, "10G")] {
            if !is_size(text) {
                return Err(Error::usage(format!("--{option} {text} is no size"))
                    .next(format!("write a number with K, M or G, as in --{option} {usual}")));
            }
        }
        for (option, number) in [("cpus", u64::from(self.cpus)), ("launch-limit", self.launch_limit_s)] {
            if number == 0 {
                return Err(Error::usage(format!("--{option} 0 is nothing")).next("write a positive number"));
            }
        }
        Ok(())
    }

    /// The image, for people, and whether it has to be downloaded.
    pub fn image_text(&self) -> String {
        match &self.image {
            file if file.starts_with("file://") => format!("the image file {}", &file["file://".len()..]),
            address if address.contains("://") => format!("the image {address} (a download, once)"),
            name => format!("Ubuntu image {name} (a download of about 600 MB, once)"),
        }
    }
}

/// A number of bytes, or a decimal number with K, M or G; `B` or `iB` may follow. Multipass takes no other.
fn is_size(text: &str) -> bool {
    let text = text.trim().to_ascii_uppercase();
    let text = text.strip_suffix("IB").or(text.strip_suffix('B')).unwrap_or(&text);
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    match text.strip_suffix(['K', 'M', 'G']) {
        None => digits(text),
        Some(number) => {
            let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
            digits(whole) && digits(part)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_multipass() {
        for text in ["2G", "768M", "0.5G", "42MiB", "1234B", "1073741824", "10g", " 2G "] {
            assert!(is_size(text), "{text}");
        }
        for text in ["lots", "5X", "", "-1G", "G", "1.5", "1..5G", ".5G", "2 G", "2T"] {
            assert!(!is_size(text), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_the_users_mistake() {
        Shape::default().check().unwrap();
        let text = Shape { disk: "5X".to_owned(), ..Shape::default() }.check().unwrap_err().to_string();
        assert!(text.contains("--disk 5X is no size") && text.contains("--disk 10G"), "{text}");
        Shape { cpus: 0, ..Shape::default() }.check().unwrap_err();
    }

    #[test]
    fn only_what_comes_over_the_network_is_a_download() {
        let text = |image: &str| Shape { image: image.to_owned(), ..Shape::default() }.image_text();
        assert_eq!(text("24.04"), "Ubuntu image 24.04 (a download of about 600 MB, once)");
        assert_eq!(text("file:///home/u/x.img"), "the image file /home/u/x.img");
        assert_eq!(text("https://h/x.img"), "the image https://h/x.img (a download, once)");
    }
}
