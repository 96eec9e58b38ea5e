//! Every way in which a ticket is good or not.

use jiff::SignedDuration;
use sysclone_protocol::inventory::{Inventory, Nic};

use super::*;

const MAC: &str = "52:54:00:00:00:01";

fn job() -> Job {
    Job {
        id: "j".into(),
        node: "n1".parse().unwrap(),
        work: Work::Install("demo@1".parse().unwrap()),
        macs: vec![MAC.parse().unwrap()],
        uuid: Some("4c4c4544-0044-4810-8031-b5c04f4e4a32".into()),
        disk_rules: Default::default(),
        nonce: vec![1],
        expires_at: now() + SignedDuration::from_hours(1),
        consumed_at: None,
        attempt: None,
        resumes: 0,
        machine: None,
        state: State::Booting,
        progress: (0, 0),
        changed_at: now(),
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap()
}

fn request() -> EnrollRequest {
    let nic = Nic { name: "eth0".into(), mac: MAC.parse().unwrap(), driver: None, link: true };
    EnrollRequest {
        node: "n1".parse().unwrap(),
        ticket: Secret::new("t".into()),
        boot_mac: Some(MAC.parse().unwrap()),
        inventory: Inventory {
            uuid: Some("4C4C4544-0044-4810-8031-B5C04F4E4A32".into()),
            nics: vec![nic],
            ..Inventory::default()
        },
        agent_version: "1".into(),
        attempt: None,
        can_resume: true,
        can_do_tasks: false,
        initrd_fault: None,
    }
}

fn judged(job: &Job, request: &EnrollRequest, attempt: Option<&TokenHash>) -> Verdict {
    judge(Some(job), (request, &machine(request)), attempt, now())
}

fn bad(job: Option<&Job>, request: &EnrollRequest) -> String {
    match judge(job, (request, &machine(request)), None, now()) {
        Verdict::Bad(reason) => reason,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[test]
fn a_fresh_ticket_of_the_right_machine_is_good() {
    assert_eq!(judged(&job(), &request(), None), Verdict::Good);
    let mut quiet = request();
    quiet.boot_mac = None;
    quiet.inventory.uuid = None;
    assert_eq!(judged(&job(), &quiet, None), Verdict::Good);
}

#[test]
fn every_refusal_has_its_sentence() {
    assert!(bad(None, &request()).contains("not one of this server's"));
    let mut other = request();
    other.node = "n2".parse().unwrap();
    assert!(bad(Some(&job()), &other).contains("given to another node than n2"));
    let mut other = request();
    other.boot_mac = Some("52:54:00:00:00:99".parse().unwrap());
    assert!(bad(Some(&job()), &other).contains("booted from 52:54:00:00:00:99"));
    let mut other = request();
    other.boot_mac = None;
    other.inventory.nics.clear();
    assert!(bad(Some(&job()), &other).contains("none of the MAC addresses of node n1"));
    let mut other = request();
    other.inventory.uuid = Some("11111111-1111-1111-1111-111111111111".into());
    assert!(bad(Some(&job()), &other).contains("UUID is 11111111"));
    let expired = Job { expires_at: now(), ..job() };
    assert!(bad(Some(&expired), &request()).contains("expired at 2023-11-14T22:13:20Z"));
    let withdrawn = Job { state: State::Withdrawn, ..job() };
    assert!(bad(Some(&withdrawn), &request()).contains("withdrawn"));
    let used = Job { state: State::Installing(Phase::Start), consumed_at: Some(now()), ..job() };
    assert!(bad(Some(&used), &request()).contains("used already, at 2023-11-14T22:13:20Z"));
}

#[test]
fn only_the_same_attempt_may_ask_again_and_only_before_it_begins() {
    let attempt = TokenHash::of("mine");
    let used = Job {
        state: State::Installing(Phase::Start),
        consumed_at: Some(now()),
        attempt: Some(attempt),
        ..job()
    };
    assert_eq!(judged(&used, &request(), Some(&attempt)), Verdict::AskedAgain);
    let other = TokenHash::of("other");
    assert!(matches!(judged(&used, &request(), Some(&other)), Verdict::Bad(_)));
    let begun = Job { state: State::Installing(Phase::Probe), ..used };
    assert!(matches!(judged(&begun, &request(), Some(&attempt)), Verdict::Bad(_)));
}

#[test]
fn only_the_same_machine_with_an_agent_that_can_goes_on() {
    let uuid = request().inventory.uuid.unwrap();
    let resuming = Job { state: State::Resuming(Phase::Pull), resumes: 1, machine: Some(uuid), ..job() };
    assert_eq!(judged(&resuming, &request(), None), Verdict::Good);
    let mut other = request();
    other.inventory.serial = Some("S2".into());
    assert!(bad(Some(&resuming), &other).contains("was begun by another machine"));
    let mut old = request();
    old.can_resume = false;
    assert!(bad(Some(&resuming), &old).contains("too old to go on"));
    let unwritten = Job { state: State::Resuming(Phase::Plan), ..resuming.clone() };
    assert_eq!(judged(&unwritten, &old, None), Verdict::Good, "nothing was written, so it simply begins");
    let attempt = TokenHash::of("mine");
    let enrolled = Job {
        state: State::Installing(Phase::Pull),
        consumed_at: Some(now()),
        attempt: Some(attempt),
        ..resuming
    };
    assert_eq!(judged(&enrolled, &request(), Some(&attempt)), Verdict::AskedAgain);
}
