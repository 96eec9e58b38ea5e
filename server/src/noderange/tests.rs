//! The grammar, form by form, and laws that hold for every range.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use proptest::prelude::*;

use super::*;

/// Nodes by name with their attributes; groups are the members of `groups`.
struct Cluster(BTreeMap<String, BTreeMap<&'static str, String>>);

impl Cluster {
    fn new(nodes: &[(&str, &str, &str)]) -> Self {
        let node = |(name, groups, mgt): &(&str, &str, &str)| {
            let mut attributes = BTreeMap::from([("groups", (*groups).to_owned())]);
            if !mgt.is_empty() {
                attributes.insert("mgt", (*mgt).to_owned());
            }
            ((*name).to_owned(), attributes)
        };
        Self(nodes.iter().map(node).collect())
    }
}

impl NodeSource for Cluster {
    fn nodes(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }
    fn has_node(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
    fn group(&self, name: &str) -> Option<Vec<String>> {
        let member = |node: &&String| self.0[*node]["groups"].split(',').any(|g| g == name);
        let members: Vec<String> = self.0.keys().filter(member).cloned().collect();
        (!members.is_empty() || name == "empty").then_some(members)
    }
    fn has_attribute(&self, name: &str) -> bool {
        ["groups", "mgt", "os"].contains(&attribute(name))
    }
    fn attribute(&self, node: &str, name: &str) -> Option<String> {
        self.0.get(node)?.get(attribute(name)).cloned()
    }
}

/// What a name stands for, as the real source knows from xCAT's tables.
fn attribute(name: &str) -> &str {
    match name.split_once('.').map_or(name, |(_, column)| column) {
        "tags" => "groups",
        column => column,
    }
}

fn cluster() -> Cluster {
    Cluster::new(&[
        ("n1", "all,compute,rack1", "ipmi"),
        ("n2", "all,compute,rack1", "ipmi"),
        ("n3", "all,compute,rack2", "hmc"),
        ("n10", "all,storage,rack2", ""),
        ("node001", "all,old", "ipmi"),
        ("node002", "all,old", "ipmi"),
        ("node003", "all,old", "ipmi"),
        ("node7", "all", ""),
        ("login-a-1", "all,rack3", ""),
        ("r1u1", "all,grid", ""),
        ("r1u2", "all,grid", ""),
        ("r2u1", "all,grid", ""),
        ("gpu5-x", "all", ""),
        ("gpu6-x", "all", ""),
        ("w1.lan", "all", ""),
        ("w2.lan", "all", ""),
        ("odd-even", "all", ""),
    ])
}

fn evaluate(text: &str) -> Result<Selection, RangeError> {
    text.parse::<Range>()?.evaluate(&cluster())
}

fn nodes(text: &str) -> String {
    evaluate(text).unwrap_or_else(|error| panic!("{text}: {error}")).nodes.join(" ")
}

#[test]
fn every_form_of_the_grammar_names_its_nodes() {
    for (range, expected) in [
        ("n1", "n1"),
        ("n2,n1,n2", "n1 n2"),
        (" n1 , n2,, ", "n1 n2"),
        ("", ""),
        ("rack1", "n1 n2"),
        ("n1-n3", "n1 n2 n3"),
        ("n1:n3", "n1 n2 n3"),
        ("n2-n2", "n2"),
        ("n[1-3]", "n1 n2 n3"),
        ("n[1:3]", "n1 n2 n3"),
        ("n[1,3,10]", "n1 n10 n3"),
        ("n[1-2,10]", "n1 n10 n2"),
        ("r[1-2]u[1]", "r1u1 r2u1"),
        ("r[1]u[1-2],n1", "n1 r1u1 r1u2"),
        ("gpu[5-6]-x", "gpu5-x gpu6-x"),
        ("gpu5-x-gpu6-x", "gpu5-x gpu6-x"),
        ("node001-node003", "node001 node002 node003"),
        ("node[001-003]", "node001 node002 node003"),
        ("node001+2", "node001 node002 node003"),
        ("w1.lan+1", "w1.lan w2.lan"),
        ("rack1-rack2", "n1 n10 n2 n3"),
        ("rack[1,2]", "n1 n10 n2 n3"),
        ("7", "node7"),
        ("001-003", "node001 node002 node003"),
        ("001+1", "node001 node002"),
        ("login-a-1", "login-a-1"),
        ("odd-even", "odd-even"),
        ("/n[12]", "n1 n2"),
        ("/n[12]/", "n1 n2"),
        (r"/n\d", "n1 n2 n3"),
        (r"/n\d{1,2}\z", "n1 n10 n2 n3"),
        ("/n(1|3)/,node7", "n1 n3 node7"),
        ("/.*u[],@1]", "r1u1 r2u1"),
        ("compute@rack1", "n1 n2"),
        ("compute@rack2@n1-n3", "n3"),
        ("rack2@compute,node7", "n3 node7"),
        ("compute,-n2", "n1 n3"),
        ("-n2,compute", "n1 n3"),
        ("compute,-n2,n2", "n1 n3"),
        ("compute,-compute@rack1", "n3"),
        ("-n1", ""),
        ("(n1,n2)@rack1,n10", "n1 n10 n2"),
        ("(compute,-n1)@(rack1,rack2)", "n2 n3"),
        ("n1,(compute,-n1)", "n1 n2 n3"),
        ("-(rack1,rack2),compute", ""),
        ("((n1))", "n1"),
        ("mgt==hmc", "n3"),
        ("nodehm.mgt==hmc", "n3"),
        ("compute@mgt!=ipmi", "n3"),
        ("compute@mgt=~^ip", "n1 n2"),
        ("compute@mgt=~/i/", "n1 n2"),
        ("compute@mgt!~/(ipmi|x)/", "n3"),
        ("tags=~rack1", "n1 n2"),
        ("rack2@mgt==", "n10"),
        ("empty", ""),
    ] {
        assert_eq!(nodes(range), expected, "{range}");
    }
}

#[test]
fn unknown_names_are_listed_while_the_known_ones_run() {
    for (range, known, unknown) in [
        ("n1,nope,n2", "n1 n2", "nope"),
        ("n1-n5", "n1 n2 n3", "n4 n5"),
        ("zz,n1,aa,zz", "n1", "zz aa"),
        ("compute,-nope", "n1 n2 n3", "nope"),
        ("12", "", "node12"),
        ("a-b-c", "", "a-b-c"),
        ("left5-right6", "", "left5-right6"),
        ("a:b:c", "", "a:b:c"),
        ("n+x", "", "n+x"),
        ("n1@nope", "", "nope"),
    ] {
        let selection = evaluate(range).unwrap();
        assert_eq!(
            (selection.nodes.join(" ").as_str(), selection.unknown.join(" ").as_str()),
            (known, unknown)
        );
    }
}

#[test]
fn what_is_not_a_range_is_refused_with_the_place() {
    for (range, message) in [
        ("(n1", "'(' is never closed in '(n1'"),
        ("n1)", "')' cannot stand here in the noderange; parts are separated by ',' or '@'"),
        ("n1 n2", "'n2' cannot stand here in the noderange; parts are separated by ',' or '@'"),
        ("(n1 n2)", "'n2)' cannot stand here in the noderange; parts are separated by ',' or '@'"),
        ("n1@", "a node or group is missing before '' in the noderange"),
        ("n1@@n2", "a node or group is missing before '@n2' in the noderange"),
        ("n[1-3", "'[' is never closed in '[1-3'"),
        ("n[]", "'n[]' holds brackets that are not numbers or spans such as [1-3,5]"),
        ("n[3-1]", "'n[3-1]' holds brackets that are not numbers or spans such as [1-3,5]"),
        ("n3-n1", "'n3-n1' runs backwards"),
        ("n1-n1000000", "'n1-n1000000' brings the noderange to more than 100000 names"),
        ("n[0-999]m[0-999]", "'n[0-999]m[0-999]' brings the noderange to more than 100000 names"),
        ("n0+99998,a,b", "'b' brings the noderange to more than 100000 names"),
        ("groups=compute", "'groups=compute': a noderange compares an attribute with ==, !=, =~ or !~"),
        ("==x", "an attribute name is missing before 'x' in the noderange"),
        ("colour==red", "'colour' is not a valid attribute name for an object type of 'node'."),
        ("/n(", "'n(' is not a regular expression: unclosed group"),
        ("/a)(b", "')(b' cannot stand here in the noderange; parts are separated by ',' or '@'"),
        ("mgt=~[", "'[' is not a regular expression: unclosed character class"),
        ("n1,^/tmp/nodes", "'^/tmp/nodes': only the command line reads files of nodes, where it runs"),
    ] {
        let error = evaluate(range).map(drop).unwrap_err();
        assert_eq!(error.to_string(), message, "{range}");
    }
}

#[test]
fn deep_and_long_texts_are_refused() {
    let nested = |depth| format!("{}n1{}", "(".repeat(depth), ")".repeat(depth));
    assert_eq!(nodes(&nested(MAX_DEPTH)), "n1");
    assert_eq!(evaluate(&nested(MAX_DEPTH + 1)), Err(RangeError::TooDeep));
    assert_eq!(evaluate(&"(".repeat(100_000)), Err(RangeError::TooDeep));
    assert_eq!(evaluate(&"n1,".repeat(MAX_TEXT_BYTES)), Err(RangeError::TooLong));
}

#[test]
fn files_are_read_by_who_asks_and_hold_one_range_a_line() {
    let mut asked = Vec::new();
    let text = "# nodes of today\n\nn1-n3  the small ones\n^/etc/shadow\n-n2\n  node7: on\n(n10)\n";
    let range: Range = "rack3,^/tmp/today,-n3".parse().unwrap();
    let range = range
        .with_files(&mut |path: &Path| {
            asked.push(path.display().to_string());
            Ok(text.to_owned())
        })
        .unwrap();
    assert_eq!(asked, ["/tmp/today"]);
    assert_eq!(range.to_string(), "rack3,(n1-n3,-n2,node7,(n10)),-n3");
    assert_eq!(nodes(&range.to_string()), "login-a-1 n1 n10 node7");
}

#[test]
fn a_file_may_not_bring_in_another_file() {
    let range: Range = "^/list".parse().unwrap();
    let range = range.with_files(&mut |_| Ok("n1,^/etc/shadow,(n2,^/etc/shadow)\n".to_owned())).unwrap();
    assert_eq!(nodes(&range.to_string()), "n1 n2");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let range: Range = "n1@^/list".parse().unwrap();
    let error = range.with_files(&mut |_| Err(io::Error::from(io::ErrorKind::NotFound))).unwrap_err();
    assert_eq!(error.to_string(), "cannot read the nodes in /list: entity not found");
}

#[test]
fn the_sites_exclusions_win_over_everything() {
    struct Guarded(Cluster);
    impl NodeSource for Guarded {
        fn nodes(&self) -> Vec<String> {
            self.0.nodes()
        }
        fn has_node(&self, name: &str) -> bool {
            self.0.has_node(name)
        }
        fn group(&self, name: &str) -> Option<Vec<String>> {
            self.0.group(name)
        }
        fn has_attribute(&self, name: &str) -> bool {
            self.0.has_attribute(name)
        }
        fn attribute(&self, node: &str, name: &str) -> Option<String> {
            self.0.attribute(node, name)
        }
        fn excluded(&self) -> Option<String> {
            Some("n2,gone".to_owned())
        }
    }
    let selection = "compute".parse::<Range>().unwrap().evaluate(&Guarded(cluster())).unwrap();
    assert_eq!(selection.nodes, ["n1", "n3"]);
    assert!(selection.unknown.is_empty());
}

/// Texts that look like ranges, right and wrong ones.
fn rangelike() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "n1",
        "n2",
        "n[1-3]",
        "compute",
        "rack1",
        "node001+2",
        "n1-n3",
        "/n.*",
        "/n[12]/",
        "mgt==ipmi",
        "mgt!~/x/",
        "nope",
        "7",
        "(",
        ")",
        ",",
        "@",
        "-",
        "[",
        "]",
        "=",
        "~",
        "!",
        "^f",
        ":",
        "+",
        "\\",
        "é",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// Ranges that evaluate, also in parentheses: inside a regular expression's class a parenthesis is a character, so
/// there are texts that swallow the one that follows them.
fn range() -> impl Strategy<Value = String> {
    rangelike()
        .prop_filter("evaluates", |text| evaluate(text).is_ok() && evaluate(&format!("({text})")).is_ok())
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = evaluate(&text);
    }

    #[test]
    fn no_rangelike_text_panics(text in rangelike()) {
        let _ = evaluate(&text);
    }

    #[test]
    fn a_range_written_back_is_the_same_range(text in range()) {
        let parsed: Range = text.parse().unwrap();
        prop_assert_eq!(parsed.to_string().parse::<Range>().unwrap(), parsed);
    }

    #[test]
    fn union_with_itself_changes_nothing(text in range()) {
        prop_assert_eq!(nodes(&format!("({text}),({text})")), nodes(&text));
    }

    #[test]
    fn order_of_a_union_does_not_matter(a in range(), b in range()) {
        prop_assert_eq!(nodes(&format!("({a}),({b})")), nodes(&format!("({b}),({a})")));
    }

    #[test]
    fn intersection_is_within_both_sides(a in range(), b in range()) {
        let both = evaluate(&format!("({a})@({b})")).unwrap().nodes;
        let (a, b) = (evaluate(&a).unwrap().nodes, evaluate(&b).unwrap().nodes);
        prop_assert!(both.iter().all(|n| a.contains(n) && b.contains(n)));
        prop_assert!(a.iter().filter(|n| b.contains(n)).all(|n| both.contains(n)));
    }

    #[test]
    fn exclusion_wins_wherever_it_stands(a in range(), b in range()) {
        let excluded = evaluate(&b).unwrap().nodes;
        for text in [format!("({a}),-({b})"), format!("-({b}),({a}),({b})")] {
            prop_assert!(evaluate(&text).unwrap().nodes.iter().all(|n| !excluded.contains(n)));
        }
    }

    #[test]
    fn a_span_counts_every_number_once(first in 0_u64..2000, more in 0_u64..50, width in 1_usize..6) {
        let name = |n: u64| format!("x{n:0width$}");
        let unknown = evaluate(&format!("{}-{}", name(first), name(first + more))).unwrap().unknown;
        let expected: Vec<String> = (first..=first + more).map(name).collect();
        prop_assert_eq!(unknown, expected);
    }
}
