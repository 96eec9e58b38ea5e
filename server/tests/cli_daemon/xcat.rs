//! What xCAT's own tests of its commands ask for, as far as it concerns machines that are cloned.

use super::Daemon;

fn made(count: usize) -> String {
    format!("0\n{count} object definitions have been created or modified.\n")
}

/// Runs command after command, each with what it must say.
fn says(daemon: &Daemon, expected: &[(&str, &str)]) {
    for (words, text) in expected {
        assert_eq!(daemon.cli(words), *text, "{words}");
    }
}

#[test]
fn the_members_of_a_group_are_the_nodes_that_say_so() {
    let daemon = Daemon::start();
    daemon.cli("mkdef n1-n4 groups=all,rack");
    assert_eq!(daemon.cli("mkdef -t group -o mine members=n1,n3"), made(1));
    says(
        &daemon,
        &[
            ("lsdef n1,n2 -i groups -c", "0\nn1: groups=all,rack,mine\nn2: groups=all,rack\n"),
            ("lsdef -t group mine", "0\nObject name: mine\n    members=n1,n3\n"),
            ("lsdef -t group", "0\nall  (group)\nmine  (group)\nrack  (group)\n"),
        ],
    );
    assert_eq!(daemon.cli("chdef -t group -o mine -p members=n[2,4]"), made(1));
    assert_eq!(daemon.cli("nodels mine"), "0\nn1\nn2\nn3\nn4\n");
    assert_eq!(daemon.cli("chdef -t group -o mine -m members=n1,n2"), made(1));
    assert_eq!(daemon.cli("nodels mine"), "0\nn3\nn4\n");
    // A group that only nodes speak of is one like any other.
    assert_eq!(daemon.cli("chdef -t group rack members=n4"), made(1));
    assert_eq!(daemon.cli("nodels rack"), "0\nn4\n");
    let unknown = daemon.cli("chdef -t group rack -p members=n9");
    assert_eq!(
        unknown,
        "1\nError: rack: members: Could not find an object named 'n9' of type 'node'.\nError: One or more errors \
         occured when attempting to create or modify xCAT object definitions.\n"
    );
    says(
        &daemon,
        &[
            ("rmdef -t group -o mine,rack", "0\n2 object definitions have been removed.\n"),
            ("lsdef n4 -i groups -c", "0\nn4: groups=all\n"),
            ("lsdef -t group mine", "1\nError: Could not find an object named 'mine' of type 'group'.\n"),
            ("rmdef -t node -o all", "0\n4 object definitions have been removed.\n"),
        ],
    );
}

#[test]
fn the_comparisons_of_a_dynamic_group_are_added_and_taken_away() {
    let daemon = Daemon::start();
    daemon.cli("mkdef n1-n2 mgt=hmc cons=hmc groups=all,systemp");
    daemon.cli("mkdef n3 mgt=hmc cons=ipmi groups=all");
    daemon.cli("mkdef -t group -o dyn -d -w mgt==hmc");
    assert_eq!(daemon.cli("chdef -t group -o dyn -d -p -w cons==hmc -w groups=~systemp"), made(1));
    let shown = daemon.cli("lsdef -t group -o dyn");
    assert!(shown.contains("    wherevals=mgt==hmc::cons==hmc::groups=~systemp\n"), "{shown}");
    assert_eq!(daemon.cli("nodels dyn"), "0\nn1\nn2\n");
    assert_eq!(daemon.cli("chdef -t group -o dyn -d -m -w cons==hmc -w groups=~systemp"), made(1));
    assert_eq!(daemon.cli("nodels dyn"), "0\nn1\nn2\nn3\n");
    let refused = daemon.cli("chdef -t group dyn members=n1");
    assert!(refused.starts_with("1\nError: dyn: members of a dynamic group are chosen"), "{refused}");
}

#[test]
fn what_groups_give_their_nodes_takes_the_place_of_what_these_had() {
    let daemon = Daemon::start();
    daemon.cli("mkdef n1,n2 groups=rack1 mgt=blade");
    says(
        &daemon,
        &[
            ("nodegrpch rack1 nodehm.mgt=hmc", "0\n"),
            ("lsdef n1,n2 -i mgt -c", "0\nn1: mgt=hmc\nn2: mgt=hmc\n"),
            ("nodels n1 -b mgt", "0\nn1: hmc (inherited from a group)\n"),
            ("nodels n1 --blame groups", "0\nn1: rack1\n"),
            ("nodegrpch rack9 mgt=hmc", "1\nError: Invalid nodes and/or groups in noderange: rack9\n"),
        ],
    );
}

#[test]
fn node_verbs_take_tables_comparisons_and_lists() {
    let daemon = Daemon::start();
    daemon.cli("mkdef n1 groups=all,rhel5 os=rhel5 mgt=hmc");
    daemon.cli("mkdef n2 groups=all,rhel6 hidden=1");
    says(
        &daemon,
        &[
            ("nodels n1 nodehm", "0\nn1: nodehm.mgt: hmc\n"),
            ("nodels -H n1 mgt", "0\nn1: nodehm.mgt: hmc\n"),
            ("nodels all nodelist.groups!~rhel6", "0\nn1\n"),
            ("nodels -S", "0\nn1\nn2\n"),
            ("nodech n1 groups,=front", "0\n"),
            ("nodech n1 groups^=rhel5 groups,=first", "0\n"),
            ("nodels n1 groups", "0\nn1: first,front,all\n"),
            ("nodech all groups=~rhel6 os=rhel6", "0\n"),
            ("nodech n1 nodetype.os=@=x", "0\n"),
            ("nodels all os", "0\nn1: =x\nn2: rhel6\n"),
            ("nodech -d n1 nodetype", "0\n"),
            ("lsdef n1 -i os -c", "0\nn1: os=\n"),
            ("nodech -d n1 nowhere", "2\nError: 'nowhere' is not a table of nodes\n"),
            ("noderm n9", "1\nError: Invalid nodes and/or groups in noderange: n9\n"),
            ("tabgrep n9", "1\nError: Invalid nodes and/or groups in noderange: n9\n"),
            (
                "tabdump -w groups=~first% nodelist -w node!=n2",
                "0\n#node,groups,status,statustime,appstatus,\
              appstatustime,primarysn,hidden,updatestatus,updatestatustime,zonename,comments,disable\n\
              \"n1\",\"first,front,all\",\"defined\",,,,,,,,,,\n",
            ),
            (
                "tabdump -w colour==x nodelist",
                "2\nError: no such column: the table nodelist has no column 'colour'\n",
            ),
        ],
    );
    let described = daemon.cli("tabdump -d");
    assert!(described.contains("site:\tsettings of the whole site\n"), "{described}");
    assert!(daemon.cli("tabdump -d nodehm").contains("mgt:\tattribute mgt\n"));
}

#[test]
fn settings_of_the_site_have_comments() {
    let daemon = Daemon::start();
    says(
        &daemon,
        &[
            ("chtab key=probe site.value=/bin/a site.comments=slow site.disable=no", "0\n"),
            ("tabdump site", "0\n#key,value,comments,disable\n\"probe\",\"/bin/a\",\"slow\",\"no\"\n"),
            ("chtab key=probe site.value+=/bin/b", "0\n"),
            ("gettab -H key=probe site.value", "0\nsite.value: /bin/a,/bin/b\n"),
            ("chtab -d key=probe site", "0\n"),
            ("tabdump site", "0\n#key,value,comments,disable\n"),
            ("chtab what=x site.value=1", "2\nError: no such column: the table site has no column 'what'\n"),
        ],
    );
}

#[test]
fn what_is_not_there_is_said_in_xcats_words() {
    let daemon = Daemon::start();
    for (words, text) in [
        ("lsdef --template none", "Error: Could not find none in xCAT templates"),
        ("mkdef n1 --template none", "Error: Could not find the template object named 'none' of type 'node'"),
        ("rmdef switch-template", "Could not find an object named 'switch-template' of type 'node'."),
        ("lsdef -t eventlog", "Error: What happened is shown by `sysclone events`."),
        ("mkdef", "Usage"),
    ] {
        let said = daemon.cli(words);
        assert!(!said.starts_with("0\n") && said.contains(text), "{words}: {said}");
    }
    assert!(daemon.cli("nodels -v").contains("Version"));
}
