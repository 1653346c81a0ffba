//! The options of a granting host beside `privileged_entities` (C2, P6, Q6).

use crate::config::{Level, Problem, Value};

/// The largest number of an option: seconds, requests, or contacts in a second.
const MOST_OF_A_NUMBER: f64 = 1e9;

/// Which contacts are asked for their presence on behalf of an entity that connects (P6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Probe {
    /// Those of all accounts.
    All,
    /// Those of accounts that are online.
    Online,
    /// None.
    #[default]
    None,
}

impl Probe {
    /// The value of the configuration option; `None` for an unknown one.
    pub fn parse(value: &str) -> Option<Probe> {
        match value {
            "all" => Some(Probe::All),
            "online" => Some(Probe::Online),
            "none" => Some(Probe::None),
            _ => None,
        }
    }

    /// Whether the contacts of accounts that are online are asked.
    pub fn asks_online(self) -> bool {
        self != Probe::None
    }

    /// Whether the contacts of accounts that are not online are asked.
    pub fn asks_offline(self) -> bool {
        self == Probe::All
    }
}

/// The options of a granting host beside `privileged_entities`, as the administrator wrote them.
#[derive(Clone, Debug)]
pub struct Raw {
    /// `privilege_iq_limit`
    pub iq_limit: Value,
    /// `privilege_iq_timeout`
    pub iq_timeout: Value,
    /// `privilege_probe`
    pub probe: Value,
    /// `privilege_probe_rate`
    pub probe_rate: Value,
}

/// The options of a granting host beside `privileged_entities`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// How many privileged IQs of one entity may wait for their answer (Q6).
    pub iq_limit: usize,
    /// How long each may wait, in milliseconds (Q6).
    pub iq_timeout: u64,
    /// Which contacts are asked (P6).
    pub probe: Probe,
    /// How many contacts are asked in a second (P6).
    pub probe_rate: f64,
}

/// Reads the options of `host`. Never fails: what is not understood is reported, and is the default, or the value
/// that does least.
pub fn read(host: &str, raw: &Raw) -> (Settings, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut wrong = |name: &str, value: &Value, allowed: &str, instead: &str| {
        let found = value.shown();
        problems.push(Problem {
            level: Level::Error,
            text: format!("Option {name} of {host}: found {found}, allowed: {allowed}; treated as {instead}"),
        });
    };
    let mut number = |name: &str, value: &Value, default: f64, least: f64| {
        let found = match value {
            Value::Nil => Some(default),
            Value::Number(number) => Some(*number),
            Value::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        // NaN is in no range.
        found
            .filter(|number| (least..=MOST_OF_A_NUMBER).contains(number))
            .unwrap_or_else(|| {
                let allowed = format!("a number from {least} to {MOST_OF_A_NUMBER}");
                wrong(name, value, &allowed, &default.to_string());
                default
            })
    };
    let iq_limit = number("privilege_iq_limit", &raw.iq_limit, 10_000.0, 0.0);
    let iq_timeout = number("privilege_iq_timeout", &raw.iq_timeout, 90.0, 0.0);
    let probe_rate = number("privilege_probe_rate", &raw.probe_rate, 200.0, 1.0);
    let probe = match &raw.probe {
        Value::Nil => Probe::All,
        value => {
            let known = match value {
                Value::Text(text) => Probe::parse(text),
                _ => None,
            };
            known.unwrap_or_else(|| {
                wrong(
                    "privilege_probe",
                    value,
                    "\"all\", \"online\", \"none\"",
                    "\"none\"",
                );
                Probe::None
            })
        }
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and MOST_OF_A_NUMBER"
    )]
    let settings = Settings {
        iq_limit: iq_limit as usize,
        iq_timeout: (iq_timeout * 1000.0) as u64,
        probe,
        probe_rate,
    };
    (settings, problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw() -> Raw {
        Raw {
            iq_limit: Value::Nil,
            iq_timeout: Value::Nil,
            probe: Value::Nil,
            probe_rate: Value::Nil,
        }
    }

    #[test]
    fn p6_q6_the_defaults() {
        let (settings, problems) = read("capulet.lit", &raw());
        assert!(problems.is_empty());
        assert_eq!((settings.iq_limit, settings.iq_timeout), (10_000, 90_000));
        assert_eq!((settings.probe, settings.probe_rate), (Probe::All, 200.0));
    }

    #[test]
    fn c2_a_number_may_be_written_as_text_and_have_a_fraction() {
        let (settings, problems) = read(
            "capulet.lit",
            &Raw {
                iq_limit: Value::Text(" 3 ".to_owned()),
                iq_timeout: Value::Number(0.5),
                probe: Value::Text("online".to_owned()),
                ..raw()
            },
        );
        assert!(problems.is_empty());
        assert_eq!(
            (settings.iq_limit, settings.iq_timeout, settings.probe),
            (3, 500, Probe::Online)
        );
    }

    #[test]
    fn c2_what_is_not_understood_is_reported_and_is_the_default() {
        for wrong in [
            Value::Number(f64::NAN),
            Value::Number(f64::INFINITY),
            Value::Number(-1.0),
            Value::Number(1e10),
            Value::Text("many".to_owned()),
            Value::Bool(false),
            Value::Table(Vec::new()),
        ] {
            let (settings, problems) = read(
                "capulet.lit",
                &Raw {
                    iq_limit: wrong.clone(),
                    iq_timeout: wrong.clone(),
                    probe_rate: wrong.clone(),
                    ..raw()
                },
            );
            assert_eq!(settings, read("capulet.lit", &raw()).0, "{wrong:?}");
            assert_eq!(problems.len(), 3);
            for (problem, name) in problems.iter().zip(["iq_limit", "iq_timeout", "probe_rate"]) {
                let start = format!("Option privilege_{name} of capulet.lit: found ");
                assert!(problem.text.starts_with(&start), "{}", problem.text);
            }
        }
        let slow = Value::Number(0.5);
        let (settings, problems) = read(
            "capulet.lit",
            &Raw {
                probe_rate: slow,
                ..raw()
            },
        );
        assert_eq!((settings.probe_rate, problems.len()), (200.0, 1));
    }

    #[test]
    fn p6_a_probe_option_that_is_not_understood_asks_nobody() {
        for wrong in [
            Value::Text("ALL".to_owned()),
            Value::Bool(true),
            Value::Number(7.0),
        ] {
            let (settings, problems) = read(
                "capulet.lit",
                &Raw {
                    probe: wrong,
                    ..raw()
                },
            );
            assert_eq!((settings.probe, problems.len()), (Probe::None, 1));
        }
    }

    #[test]
    fn p6_whose_contacts_are_asked() {
        for (value, online, offline) in [
            ("all", true, true),
            ("online", true, false),
            ("none", false, false),
        ] {
            let probe = Probe::parse(value).unwrap();
            assert_eq!((probe.asks_online(), probe.asks_offline()), (online, offline));
        }
    }
}
