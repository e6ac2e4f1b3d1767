//! The part of cloud-init's user data that the stand-in carries out, as a script.

use serde_yaml_ng::Value;

/// The script for some user data. What it does not know makes it fail, as a mistake in user data makes
/// `cloud-init status` say `error`.
pub(crate) fn script(text: &str) -> String {
    let parsed: Result<Value, _> = serde_yaml_ng::from_str(text);
    let Some(fields) = parsed.as_ref().ok().and_then(Value::as_mapping) else {
        return "exit 1".to_owned();
    };
    let mut script = String::from("code=0\n");
    for (key, value) in fields {
        let list = value.as_sequence().cloned().unwrap_or_default();
        match key.as_str().unwrap_or_default() {
            "package_update" => script.push_str("apt-get update -q || code=1\n"),
            "packages" => {
                let names: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
                script.push_str(&format!("apt-get install -q -y {} || code=1\n", names.join(" ")));
            }
            _ => script.push_str("code=1\n"),
        }
    }
    script + "exit $code"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_data_becomes_commands() {
        let text = "#cloud-config\npackage_update: true\npackages: [a, b]\n";
        assert_eq!(
            script(text),
            "code=0\napt-get update -q || code=1\napt-get install -q -y a b || code=1\nexit $code"
        );
        assert!(script("unheard_of: 1").contains("code=1\nexit"));
        assert_eq!(script("a: [1, 2\nb: }"), "exit 1");
    }
}
