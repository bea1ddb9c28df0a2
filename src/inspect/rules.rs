//! What `--reject` and `--replace` ask for, as an inspector.

use std::sync::Arc;

use super::reject::Rejecter;
use super::replace::Replacer;
use super::{Direction, Filter, Inspection, Inspector, SessionFacts};
use crate::base::text::Escaped;
use crate::config::inspection::{Action, Rule, RuleSettings, Ways};

/// The rules of a service.
#[derive(Debug)]
pub struct Rules {
    settings: RuleSettings,
    /// What the log calls them.
    names: Vec<Arc<str>>,
}

impl Rules {
    /// Those that are asked for; `None`: there are none.
    pub fn new(settings: &RuleSettings) -> Option<Rules> {
        let names =
            settings.rules.iter().map(|rule| format!("a match of `{}`", Escaped(rule.to_string().as_bytes())).into());
        let names: Vec<_> = names.collect();
        (!names.is_empty()).then(|| Rules { settings: settings.clone(), names })
    }
}

impl Inspector for Rules {
    fn inspect(&self, _session: &SessionFacts<'_>, direction: Direction) -> Inspection {
        let rules = self.settings.rules.iter().zip(&self.names).filter(|(rule, _)| match rule.ways {
            Ways::Both => true,
            Ways::Upstream => direction == Direction::Upstream,
            Ways::Downstream => direction == Direction::Downstream,
        });
        let filters = rules.map(|(rule, name)| rule_filter(rule, name.clone(), &self.settings));
        Inspection { taps: Vec::new(), filters: filters.collect() }
    }
}

/// The filter of a rule for one direction of a session. The log calls it by this name.
pub fn rule_filter(rule: &Rule, name: Arc<str>, settings: &RuleSettings) -> Box<dyn Filter> {
    match &rule.action {
        Action::Reject(matcher) => Box::new(Rejecter::new(matcher.clone(), name, settings.wait)),
        Action::Replace(what) => Box::new(Replacer::new(what.clone(), settings.window, settings.wait)),
    }
}
