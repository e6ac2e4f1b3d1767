//! The texts of all rules, as `roce explain` and `docs/rules.md` have them; a test keeps the document equal.

use std::fmt::Write as _;

use crate::rule::{Rule, RuleText, each_rule};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::Examples;

macro_rules! files {
    ($($name:ident $file:ident $severity:ident $title:literal;)*) => {
        impl Rule {
            /// Text of the rule's file.
            pub(crate) const fn text(self) -> &'static RuleText {
                match self {
                    $(Self::$name => &crate::rules::$file::TEXT,)*
                }
            }

            /// Examples of the rule's file.
            #[cfg(any(test, feature = "synth"))]
            pub(crate) const fn examples(self) -> Examples {
                match self {
                    $(Self::$name => crate::rules::$file::EXAMPLES,)*
                }
            }
        }
    };
}
each_rule!(files);

impl Rule {
    /// Sentences of what must hold, and what the check makes of it.
    pub fn explanation(self) -> &'static str {
        self.text().explanation
    }

    /// Source that the rule was written from.
    pub fn source(self) -> &'static str {
        self.text().source
    }

    /// All rules as a Markdown document.
    pub fn catalogue() -> String {
        let mut text = String::from(
            "# The rules\n\n\
             What a capture is held to, by `roce check` and by every scenario. Written from the rules' own enum (`roce check --rules`): change it there.\n\n\
             A finding names the rule, the packet at which it shows, what was expected and what came. After a fault the checks go on from what the wire \
             shows, so that one cause gives one finding. An *error* says that a peer did what the protocol forbids, or that data is not what was sent; a *warning* \
             that something was lost or refused, which peers recover from, or is missing from the capture; a *note* is about the capture itself. The severity \
             here is the worst that a rule has: where a packet that the recorder lost, doubled or put elsewhere would explain it as well, an error is a \
             warning, and a warning, or anything in a capture that has shown to lack packets or to have them elsewhere, a note.\n\n\
             | rule | severity | violated when |\n|--|--|--|\n",
        );
        for rule in Self::ALL {
            let (anchor, severity) = (rule.name().to_lowercase(), rule.severity());
            let _ = writeln!(text, "| [`{rule}`](#{anchor}) | {severity} | {} |", rule.title());
        }
        for rule in Self::ALL {
            text.push('\n');
            text.push_str(&rule.page());
        }
        text
    }

    /// The rule's section of the catalogue.
    pub fn page(self) -> String {
        format!(
            "## {self}\n\n{}: {}.\n\n{}\n\nSource: {}.\n",
            self.severity(),
            self.title(),
            self.explanation(),
            self.source()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_found_by_their_names_and_have_texts() {
        for rule in Rule::ALL {
            assert_eq!(Rule::from_name(&rule.name()), Some(rule));
            assert!(
                !rule.title().is_empty() && rule.explanation().ends_with('.') && !rule.source().is_empty()
            );
        }
        assert_eq!(Rule::from_name("NoSuchRule"), None);
    }
}
