//! Plays clients and networks against the sender without sockets or time.

use super::*;
use crate::negotiate::negotiate;
use crate::packet::ErrorCode;
use proptest::prelude::*;

/// A sender with the given options, and the time.
struct Play {
    sender: Sender,
    now: Instant,
}

impl Play {
    fn new(length: usize, options: &[(&str, &str)]) -> Self {
        let raw: Vec<RawOption<'_>> = options.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
        let now = Instant::now();
        let content: Bytes = (0..length).map(|i| i as u8).collect();
        let terms = negotiate(&raw, length as u64, 65464);
        Self { sender: Sender::new(content, terms, now), now }
    }

    /// Everything that may be sent now: block numbers, 0 for an OACK.
    fn sent(&mut self) -> Vec<u16> {
        let mut out = Vec::new();
        let mut blocks = Vec::new();
        while self.sender.next_packet(self.now, &mut out) {
            blocks.push(match Packet::parse(&out).unwrap() {
                Packet::Data { block, .. } => block,
                Packet::OptionAck(_) => 0,
                other => panic!("a server never sends {other:?}"),
            });
        }
        blocks
    }

    fn ack(&mut self, block: u16) -> Option<Outcome> {
        self.now += Duration::from_micros(200);
        self.sender.on_packet(self.now, &Packet::Ack(block))
    }

    /// Lets time pass to the deadline; tells how long that was.
    fn wait(&mut self) -> (Duration, Option<Outcome>) {
        let waited = self.sender.deadline() - self.now;
        self.now = self.sender.deadline();
        (waited, self.sender.on_deadline(self.now))
    }
}

#[test]
fn a_file_ends_with_a_short_block_even_if_that_is_empty() {
    for (length, blocks) in [(0, 1), (1, 1), (511, 1), (512, 2), (513, 2), (1024, 3)] {
        let mut play = Play::new(length, &[]);
        for block in 1..=blocks {
            assert_eq!(play.sent(), [block], "{length}");
            let outcome = play.ack(block);
            assert_eq!(outcome, (block == blocks).then_some(Outcome::Done), "{length}");
        }
        assert_eq!(play.sender.acknowledged_bytes(), length as u64);
    }
}

#[test]
fn a_repeated_ack_does_not_repeat_data() {
    let mut play = Play::new(5000, &[]);
    assert_eq!(play.sent(), [1]);
    play.ack(1);
    assert_eq!(play.sent(), [2]);
    for stale in [1, 1, 0, 3, 60000] {
        assert_eq!(play.ack(stale), None);
        assert_eq!(play.sent(), [0u16; 0]);
    }
    play.ack(2);
    assert_eq!(play.sent(), [3]);
}

#[test]
fn a_lost_block_is_sent_again_soon_once_the_network_is_measured() {
    let mut play = Play::new(5000, &[]);
    play.sent();
    play.ack(1);
    play.sent();
    let (waited, outcome) = play.wait();
    assert!(waited < Duration::from_millis(50), "{waited:?}");
    assert_eq!((outcome, play.sent()), (None, vec![2]));
    assert_eq!(play.sender.retransmitted(), 1);
}

#[test]
fn an_oack_is_repeated_at_most_once_a_second_until_the_client_answers() {
    for (options, at_least) in
        [(&[("tsize", "0"), ("timeout", "1")][..], OFFER_INTERVAL), (&[("tsize", "0")], CLIENT_TIMEOUT)]
    {
        let mut play = Play::new(5000, options);
        assert_eq!(play.sent(), [0]);
        for _ in 0..3 {
            let (waited, outcome) = play.wait();
            assert!(waited > at_least, "{waited:?}");
            assert_eq!((outcome, play.sent()), (None, vec![0]));
        }
        assert_eq!(play.ack(7), None);
        assert_eq!(play.sent(), [0u16; 0]);
        play.ack(0);
        assert_eq!(play.sent(), [1]);
    }
}

#[test]
fn a_repeated_request_brings_the_oack_again_but_not_at_once() {
    let mut play = Play::new(5000, &[("tsize", "0")]);
    assert_eq!(play.sent(), [0]);
    play.sender.on_repeated_request(play.now);
    assert_eq!(play.sent(), [0u16; 0]);
    play.now += OFFER_INTERVAL;
    play.sender.on_repeated_request(play.now);
    assert_eq!(play.sent(), [0]);
    play.ack(0);
    play.sent();
    play.now += OFFER_INTERVAL;
    play.sender.on_repeated_request(play.now);
    assert_eq!(play.sent(), [0u16; 0]);
}

/// A sender of ten blocks whose second one is not acknowledged in spite of quick tries.
fn paused(options: &[(&str, &str)]) -> Play {
    let mut play = Play::new(5000, options);
    play.sent();
    if !options.is_empty() {
        play.ack(0);
        play.sent();
    }
    play.ack(1);
    assert_eq!(play.sent(), [2]);
    let start = play.now;
    for attempt in 1..=QUICK_TRIES {
        assert_eq!(play.wait().1, None);
        let expected = if attempt == QUICK_TRIES { vec![2, 3] } else { vec![2] };
        assert_eq!(play.sent(), expected);
    }
    assert!(play.now - start < Duration::from_secs(1), "{:?}", play.now - start);
    play
}

/// atftp: both its ACKs of a block were lost, and it ignores further copies of that block.
#[test]
fn a_client_that_has_the_block_goes_on_with_the_one_sent_ahead() {
    let mut play = paused(&[]);
    play.ack(3);
    assert_eq!(play.sent(), [4]);
    play.ack(3);
    assert_eq!(play.sent(), [0u16; 0]);
}

#[test]
fn after_quick_tries_the_clients_own_timer_gets_time_to_run_out() {
    for (options, client_timeout) in [(&[][..], 5), (&[("timeout", "1")], 5), (&[("timeout", "8")], 8)] {
        let mut play = paused(options);
        let pause = play.sender.deadline() - play.now;
        assert!(pause > Duration::from_secs(client_timeout), "{pause:?}");
        // It repeats the ACK of what it has, and the next block goes out, once.
        play.now += Duration::from_secs(client_timeout);
        play.ack(1);
        assert_eq!(play.sent(), [2]);
        play.ack(1);
        assert_eq!(play.sent(), [0u16; 0]);
        play.ack(2);
        assert_eq!(play.sent(), [3]);
    }
}

#[test]
fn an_ack_inside_the_window_names_the_first_lost_block() {
    let mut play = Play::new(512 * 20, &[("windowsize", "4")]);
    play.sent();
    play.ack(0);
    assert_eq!(play.sent(), [1, 2, 3, 4]);
    play.ack(2);
    assert_eq!(play.sent(), [3, 4, 5, 6]);
    for _ in 0..4 {
        play.ack(2);
        assert_eq!(play.sent(), [0u16; 0]);
    }
    play.ack(6);
    assert_eq!(play.sent(), [7, 8, 9, 10]);
}

#[test]
fn block_numbers_roll_over_to_zero_inside_a_window() {
    let length = 8 * 65540;
    let mut play = Play::new(length, &[("blksize", "8"), ("windowsize", "5")]);
    play.sent();
    play.ack(0);
    let mut last = 0;
    loop {
        let sent = play.sent();
        for block in &sent {
            assert_eq!(*block, u16::wrapping_add(last, 1));
            last = *block;
        }
        if play.ack(last).is_some() {
            break;
        }
    }
    assert_eq!(last, (65541u32 % 65536) as u16);
    assert_eq!((play.sender.acknowledged_bytes(), play.sender.retransmitted()), (length as u64, 0));
}

#[test]
fn a_silent_client_is_given_up_after_half_a_minute_and_not_before() {
    for (options, at_least, at_most) in [(&[][..], 30, 37), (&[("timeout", "20")][..], 100, 126)] {
        let mut play = Play::new(5000, options);
        let start = play.now;
        play.sent();
        let outcome = loop {
            let (_, outcome) = play.wait();
            play.sent();
            if let Some(outcome) = outcome {
                break outcome;
            }
        };
        let waited = (play.now - start).as_secs();
        assert!((at_least..=at_most).contains(&waited), "{waited} s");
        assert!(matches!(outcome, Outcome::Failed(Failure::TimedOut(_))), "{outcome:?}");
    }
}

#[test]
fn a_missing_last_ack_is_no_failure() {
    let mut play = Play::new(10, &[]);
    play.sent();
    let outcome = std::iter::repeat_with(|| {
        let (_, outcome) = play.wait();
        play.sent();
        outcome
    })
    .find_map(|outcome| outcome);
    assert_eq!(outcome, Some(Outcome::Unconfirmed));
}

#[test]
fn an_error_ends_it_and_after_a_size_question_it_is_no_failure() {
    let error = Packet::Error { code: ErrorCode::OPTIONS, message: b"User aborted the transfer" };
    let mut play = Play::new(5000, &[("tsize", "0")]);
    play.sent();
    assert_eq!(play.sender.on_packet(play.now, &error), Some(Outcome::SizeOnly));

    let mut play = Play::new(5000, &[]);
    play.sent();
    let message = "User aborted the transfer".to_owned();
    let failure = Failure::Client { code: ErrorCode::OPTIONS, message };
    assert_eq!(play.sender.on_packet(play.now, &error), Some(Outcome::Failed(failure)));
}

proptest! {
    /// A receiver that follows RFC 7440 behind a network that loses and repeats packets gets exactly the file.
    #[test]
    fn the_file_arrives_whole_over_a_bad_network(
        length in 0usize..3000, window in 1u16..9, block in 8usize..64, fates in prop::collection::vec(0u8..10, 64),
    ) {
        let (window_text, block_text) = (window.to_string(), block.to_string());
        let mut play = Play::new(length, &[("blksize", &block_text), ("windowsize", &window_text)]);
        let mut fates = fates.into_iter().cycle();
        let mut receiver = Receiver { block, window, expected: 1, in_window: 0, got: Vec::new() };
        let mut out = Vec::new();
        for _ in 0..100_000 {
            let mut acks = Vec::new();
            let mut sent = false;
            while play.sender.next_packet(play.now, &mut out) {
                sent = true;
                let copies = match fates.next().unwrap() { 0 | 1 => 0, 2 => 2, _ => 1 };
                acks.extend((0..copies).filter_map(|_| receiver.take(&out)));
            }
            for ack in acks {
                if fates.next().unwrap() > 1 && play.ack(ack) == Some(Outcome::Done) {
                    prop_assert_eq!(receiver.got, (0..length).map(|i| i as u8).collect::<Vec<_>>());
                    return Ok(());
                }
            }
            // All fates may say "lost": then giving up is right.
            if !sent && play.wait().1.is_some() {
                return Ok(());
            }
        }
        prop_assert!(false, "no end");
    }

    #[test]
    fn arbitrary_acks_never_panic_or_claim_more_than_was_sent(
        length in 0usize..5000, acks in prop::collection::vec(any::<u16>(), 0..200),
    ) {
        let mut play = Play::new(length, &[("blksize", "16"), ("windowsize", "7")]);
        for ack in acks {
            play.sent();
            if play.ack(ack).is_some() { break; }
            prop_assert!(play.sender.acknowledged <= play.sender.highest);
            if ack % 3 == 0 { play.wait(); }
        }
    }
}

/// A receiver as RFC 7440 describes it.
struct Receiver {
    block: usize,
    window: u16,
    expected: u16,
    in_window: u16,
    got: Vec<u8>,
}

impl Receiver {
    fn take(&mut self, bytes: &[u8]) -> Option<u16> {
        match Packet::parse(bytes).unwrap() {
            Packet::OptionAck(_) => Some(0),
            Packet::Data { block, payload } if block == self.expected => {
                self.got.extend_from_slice(payload);
                self.expected = self.expected.wrapping_add(1);
                self.in_window += 1;
                let ends = payload.len() < self.block || self.in_window == self.window;
                ends.then(|| {
                    self.in_window = 0;
                    block
                })
            }
            Packet::Data { .. } => {
                self.in_window = 0;
                Some(self.expected.wrapping_sub(1))
            }
            other => panic!("a server never sends {other:?}"),
        }
    }
}
