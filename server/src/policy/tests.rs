use std::collections::BTreeMap;

use super::*;

/// n1 to n4, of which n1 and n2 are in the group `compute`.
struct Four;

impl NodeSource for Four {
    fn nodes(&self) -> Vec<String> {
        ["n1", "n2", "n3", "n4"].map(str::to_owned).to_vec()
    }
    fn has_node(&self, name: &str) -> bool {
        self.nodes().iter().any(|node| node == name)
    }
    fn group(&self, name: &str) -> Option<Vec<String>> {
        (name == "compute").then(|| ["n1", "n2"].map(str::to_owned).to_vec())
    }
    fn has_attribute(&self, _name: &str) -> bool {
        false
    }
    fn attribute(&self, _node: &str, _name: &str) -> Option<String> {
        None
    }
}

/// `priority: attr=value …`, one on a line.
fn rules(text: &str) -> Rules {
    let object = |line: &str| {
        let (priority, rest) = line.trim().split_once(": ").unwrap();
        let attribute = |word: &str| word.split_once('=').map(|(a, v)| (a.to_owned(), v.to_owned())).unwrap();
        (priority.to_owned(), rest.split(' ').map(attribute).collect::<BTreeMap<_, _>>())
    };
    Rules::read(&text.lines().map(object).collect(), "mn.cluster")
}

fn decide(rules: &Rules, account: &str, words: &str, nodes: Option<&[&str]>) -> Verdict {
    let (verb, parameters) = words.split_once(' ').unwrap_or((words, ""));
    let nodes: Option<Vec<String>> = nodes.map(|nodes| nodes.iter().map(|&node| node.to_owned()).collect());
    let about = nodes.as_deref().map_or(About::All, About::Nodes);
    let token = account.starts_with("token:");
    rules.decide(&Call { account, token, verbs: &[verb], parameters, about }, &Four)
}

fn allowed(verdict: &Verdict) -> bool {
    !matches!(verdict, Verdict::Denied(_))
}

#[test]
fn without_rules_everything_is_allowed_and_with_one_nothing_else_is() {
    assert_eq!(decide(&Rules::default(), "anna", "rpower on", None), Verdict::Allowed(None));
    let rules = rules("5: name=anna commands=lsdef rule=allow");
    assert_eq!(decide(&rules, "anna", "lsdef", None), Verdict::Allowed(Some("5".into())));
    assert_eq!(decide(&rules, "anna", "rpower on", None), Verdict::Denied(None));
    assert_eq!(decide(&rules, "bert", "lsdef", None), Verdict::Denied(None));
}

#[test]
fn the_lowest_number_decides_not_the_first_in_the_alphabet() {
    let rules = rules("10: commands=rpower rule=allow\n9.5: name=bert rule=deny\nlast: rule=allow");
    assert_eq!(decide(&rules, "bert", "rpower on", None), Verdict::Denied(Some("9.5".into())));
    assert_eq!(decide(&rules, "anna", "rpower on", None), Verdict::Allowed(Some("10".into())));
    assert_eq!(decide(&rules, "anna", "lsdef", None), Verdict::Allowed(Some("last".into())));
}

#[test]
fn a_range_must_hold_all_nodes_to_allow_and_one_to_deny() {
    let allow = rules("1: noderange=compute rule=allow");
    for (nodes, expected) in
        [(Some(&["n1", "n2"][..]), true), (Some(&["n1", "n3"]), false), (None, false), (Some(&[]), true)]
    {
        assert_eq!(allowed(&decide(&allow, "anna", "rpower on", nodes)), expected, "{nodes:?}");
    }
    let deny = rules("1: noderange=compute rule=deny\n2: rule=allow");
    for (nodes, expected) in [(Some(&["n3"][..]), true), (Some(&["n1", "n3"]), false), (None, false)] {
        assert_eq!(allowed(&decide(&deny, "anna", "rpower on", nodes)), expected, "{nodes:?}");
    }
    let nothing =
        Call { account: "anna", token: false, verbs: &["probe"], parameters: "", about: About::Nothing };
    assert!(!allowed(&allow.decide(&nothing, &Four)) && allowed(&deny.decide(&nothing, &Four)));
}

#[test]
fn tokens_are_allowed_by_name_and_denied_with_everybody() {
    let everybody = rules("1: rule=trusted");
    assert!(
        !allowed(&decide(&everybody, "token:ci", "lsdef", None))
            && allowed(&decide(&everybody, "anna", "lsdef", None))
    );
    let named = rules("1: commands=rmdef rule=deny\n2: name=token:ci rule=allow");
    assert!(allowed(&decide(&named, "token:ci", "lsdef", None)));
    assert_eq!(decide(&named, "token:ci", "rmdef", None), Verdict::Denied(Some("1".into())));
}

#[test]
fn parameters_and_hosts_are_conditions() {
    let rules = rules("1: commands=rpower parameters=^(stat|on)$ rule=allow\n2: host=elsewhere rule=allow");
    assert!(allowed(&decide(&rules, "anna", "rpower stat", None)));
    assert!(!allowed(&decide(&rules, "anna", "rpower off", None)));
    let here = super::tests::rules("1: host=elsewhere,mn rule=trusted");
    assert_eq!(decide(&here, "anna", "chdef", None), Verdict::Trusted("1".into()));
}

#[test]
fn what_cannot_be_read_allows_nothing_and_denies() {
    for broken in ["parameters=(", "noderange=n[", "rule=perhaps"] {
        let allow =
            if broken.starts_with("rule") { broken.to_owned() } else { format!("{broken} rule=allow") };
        assert!(
            !allowed(&decide(&rules(&format!("1: {allow}")), "anna", "rpower on", Some(&["n1"]))),
            "{allow}"
        );
        let deny = format!("1: {broken} rule=deny\n2: rule=allow").replace("rule=perhaps ", "");
        assert!(!allowed(&decide(&rules(&deny), "anna", "rpower on", Some(&["n1"]))), "{deny}");
    }
    assert!(!allowed(&decide(&rules("1: time=monday rule=allow"), "anna", "rpower on", None)));
    assert!(!allowed(&decide(&rules("1: time=monday rule=deny\n2: rule=allow"), "anna", "rpower on", None)));
}

#[test]
fn values_are_checked_when_they_are_written() {
    for (attr, value, good) in [
        ("rule", "allow", true),
        ("rule", "maybe", false),
        ("parameters", "^osimage", true),
        ("parameters", "(", false),
        ("noderange", "*", true),
        ("noderange", "rack1", true),
        ("noderange", "n[", false),
        ("time", "monday", false),
        ("commands", "anything", true),
    ] {
        assert_eq!(check_rule_attribute(attr, value).is_none(), good, "{attr}={value}");
    }
}
