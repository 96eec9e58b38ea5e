//! What xCAT's own evaluation gives, taken from its documentation and from Perl itself, which is the oracle here.

use std::process::Command;

use proptest::prelude::*;

use super::*;

fn value(text: &str, node: &str) -> Option<String> {
    Computed::parse(text).unwrap().expect("it is computed").value(node).unwrap()
}

#[test]
fn names_become_values_as_xcat_documents() {
    for (text, node, expected) in [
        (r"/\z/-bmc/", "n12", "n12-bmc"),
        (r"/$/-bmc/", "n12", "n12-bmc"),
        (r"/n/bmc/", "n12", "bmc12"),
        (r"|\D+(\d+)|10.1.0.($1+0)|", "node007", "10.1.0.7"),
        (r"|\D+(\d+)|10.1.0.($1)|", "node007", "10.1.0.007"),
        (r"|\D+(\d+).*$|10.0.(($1-1)/20).($1%20+1)|", "cn45.lan", "10.0.2.6"),
        (r"|r(\d+)u(\d+)|10.($1).($2*2).254|", "r3u7", "10.3.14.254"),
        (r"|10.0.0.($1+100)|", "node012", "10.0.0.112"),
        (r"|10.($1).($2+0).1|", "rack03n0017", "10.3.17.1"),
        (r#"|node(\d+)|sw(sprintf("%02d",($1+23)/24))|"#, "node30", "sw02"),
        (r"|(.*)|($1)-ib0|", "n1", "n1-ib0"),
        (r"|node(\d+)|bmc$1|", "node5", "bmc$1"),
        (r"|x(\d+)|bmc($1)|", "node5", "node5"),
        (r"|\D+(\d+)|p(2**$1)|", "n5", "p32"),
        (r"|\D+(\d+)|p($1-010)|", "n010", "p2"),
        (r"|\D+(\d+)|p(7/($1-5))|", "n5", "p"),
        (r"|(?<=n)(\d+)|($1+1)|", "n41", "n42"),
    ] {
        assert_eq!(value(text, node).as_deref(), Some(expected), "{text} of {node}");
    }
    assert_eq!(value("/n1//", "n1"), None);
}

#[test]
fn plain_values_are_left_alone() {
    for text in [
        "ipmi",
        "/tftpboot",
        "/tftpboot/",
        "/a/b/c/",
        "|",
        "||x",
        "52:54:00:00:00:01!a|52:54:00:00:00:02!b",
        "/",
    ] {
        assert!(Computed::parse(text).unwrap().is_none(), "{text}");
    }
}

#[test]
fn what_cannot_be_evaluated_is_named() {
    for (text, part) in [
        (r"|n(\d+|10.0.0.($1)|", "n(\\d+"),
        (r"|n(\d+)|10.0.0.($1+system)|", "($1+system)"),
        (r"|n(\d+)|10.0.0.(`id`)|", "(`id`)"),
        (r"|n(\d+)|10.0.0.($1+)|", "($1+)"),
        (r"|n(\d+)|10.0.0.($1--1)|", "($1--1)"),
        ("/(/x/", "("),
    ] {
        let error = Computed::parse(text).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let slow = Computed::parse(r"|(?:(\w+)\1*)*!(?=x)|x|").unwrap().unwrap();
    assert!(slow.value(&"ab".repeat(120)).unwrap_err().to_string().contains("not a usable"));
}

/// Evaluates in Perl what xCAT evaluates: every bracketed part under `use integer`, then one substitution.
const ORACLE: &str = r#"
    use Text::Balanced qw(extract_bracketed);
    my ($node, $lhs, $retval) = @ARGV;
    my ($curr, $next, $prev) = extract_bracketed($retval, '()', qr/[^()]*/);
    while ($curr) {
        my $result = '';
        if ($node =~ /$lhs/) { $result = eval("use integer;" . $curr) // ''; }
        $retval = $prev . $result . $next;
        ($curr, $next, $prev) = extract_bracketed($retval, '()', qr/[^()]*/);
    }
    my $answer = $node;
    $answer =~ s/$lhs/$retval/;
    print $answer;
"#;

fn perl(node: &str, regex: &str, text: &str) -> String {
    let output = Command::new("perl").args(["-e", ORACLE, node, regex, text]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Arithmetic that Perl reads too.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("$1".to_owned()),
        Just("$2".to_owned()),
        Just("${1}".to_owned()),
        (0_u32..300).prop_map(|number| number.to_string()),
    ];
    leaf.prop_recursive(3, 12, 2, |inner| {
        let sign = prop::sample::select(vec!["+", "-", "*", "/", "%"]);
        prop_oneof![
            (inner.clone(), sign, inner.clone()).prop_map(|(a, sign, b)| format!("{a}{sign}{b}")),
            inner.clone().prop_map(|a| format!("({a})")),
            inner.prop_map(|a| format!("-({a})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn arithmetic_is_that_of_perl(
        expression in expression().prop_filter("operators that we refuse", |text| !text.contains("--")),
        rack in 0_u32..120,
        unit in 0_u32..9,
        width in 1_usize..4,
        tail in "[a-z]{0,2}",
    ) {
        let node = format!("r{rack:0width$}u{unit}{tail}");
        let (regex, text) = (r"r(\d+)u(\d+)", format!("10.({expression}).x"));
        let ours = value(&format!("|{regex}|{text}|"), &node).unwrap_or_default();
        prop_assert_eq!(ours, perl(&node, regex, &text));
    }

    #[test]
    fn no_value_panics(text in r"[|/]\PC{0,20}[|/]", node in "[a-z0-9.-]{1,12}") {
        if let Ok(Some(computed)) = Computed::parse(&text) {
            let _ = computed.value(&node);
        }
    }
}
