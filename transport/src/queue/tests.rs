use super::*;

const POLICY: FlowPolicy = FlowPolicy { burst_ms: 250, share: 0.05 };

fn queue() -> Queue {
    Queue::new(1000, &POLICY, 0)
}

fn frame(length: usize) -> Frame {
    Frame::from_encoded(vec![0; length].into())
}

fn push(queue: &mut Queue, lane: Lane, length: usize) -> Sent {
    queue.push(lane, Source::BRIDGE, frame(length), Overflow::DropNewest, &POLICY, || 0).sent
}

fn drain(queue: &mut Queue) -> usize {
    let mut copy = Vec::new();
    while queue.take(&mut copy, usize::MAX).is_some() {}
    copy.len()
}

#[test]
fn control_passes_data() {
    let mut queue = queue();
    push(&mut queue, Lane::Normal, 10);
    push(&mut queue, Lane::Control, 20);
    let mut copy = Vec::new();
    assert_eq!(queue.take(&mut copy, 15), None);
    assert_eq!(copy.len(), 20);
}

#[test]
fn senders_pause_at_half_and_frames_drop_at_the_bound() {
    let mut queue = queue();
    for _ in 0..5 {
        assert_eq!(push(&mut queue, Lane::Normal, 100), Sent::Queued);
    }
    for _ in 0..5 {
        assert_eq!(push(&mut queue, Lane::Normal, 100), Sent::QueuedButPause);
    }
    assert_eq!(push(&mut queue, Lane::Normal, 100), Sent::Dropped);
    assert_eq!(queue.bytes(), 1000);
    assert_eq!(drain(&mut queue), 1000);
    assert_eq!(queue.on_written(1000, 5), (true, Some(Lost { count: 1, bytes: 100 })));
}

#[test]
fn control_exceeds_the_bound_by_a_quarter_before_it_pushes_data_out() {
    let mut queue = queue();
    push(&mut queue, Lane::Normal, 600);
    push(&mut queue, Lane::Normal, 400);
    let control = |queue: &mut Queue, length| {
        queue.push(Lane::Control, Source::BRIDGE, frame(length), Overflow::DropNewest, &POLICY, || 0).lost
    };
    assert_eq!(control(&mut queue, 250), Lost::default());
    assert_eq!(control(&mut queue, 10), Lost { count: 1, bytes: 600 });
}

/// The output, as the first byte of each frame.
fn written(queue: &mut Queue) -> String {
    let mut order = String::new();
    loop {
        let mut copy = Vec::new();
        queue.take(&mut copy, 0);
        match copy.first() {
            Some(first) => order.push(char::from(*first)),
            None => return order,
        }
    }
}

fn named(name: char, length: usize) -> Frame {
    Frame::from_encoded(vec![name as u8; length].into())
}

fn send(queue: &mut Queue, lane: Lane, name: char, rule: Overflow) -> Pushed {
    queue.push(lane, Source::BRIDGE, named(name, 100), rule, &POLICY, || 0)
}

#[test]
fn lanes_leave_in_order_and_each_keeps_its_own() {
    let mut queue = queue();
    for (lane, name) in [
        (Lane::Low, 'l'),
        (Lane::Normal, 'n'),
        (Lane::High, 'h'),
        (Lane::Control, 'c'),
        (Lane::Normal, 'N'),
        (Lane::High, 'H'),
        (Lane::Low, 'L'),
    ] {
        send(&mut queue, lane, name, Overflow::DropNewest);
    }
    assert_eq!(written(&mut queue), "chHnNlL");
}

#[test]
fn the_low_lane_gets_a_turn_and_a_close_still_goes_last() {
    let fill = |queue: &mut Queue| {
        for (lane, name, count) in [(Lane::Low, 'l', 3), (Lane::Normal, 'n', 2 * usize::from(TURN) + 1)] {
            for _ in 0..count {
                queue.push(lane, Source::BRIDGE, named(name, 5), Overflow::DropNewest, &POLICY, || 0);
            }
        }
    };
    let mut one = queue();
    fill(&mut one);
    let turn = "n".repeat(usize::from(TURN));
    assert_eq!(written(&mut one), format!("{turn}l{turn}lnl"));
    let mut other = queue();
    fill(&mut other);
    other.close(CloseCode::NORMAL, named('x', 4), CloseMode::Flush, 0);
    assert_eq!(written(&mut other), format!("{turn}{turn}nlllx"));
}

#[test]
fn a_higher_lane_pushes_out_the_oldest_of_the_lowest() {
    let mut queue = queue();
    for (lane, name) in [(Lane::Normal, 'a'), (Lane::Low, 'b'), (Lane::Low, 'c'), (Lane::Normal, 'd')] {
        queue.push(lane, Source::BRIDGE, named(name, 250), Overflow::DropNewest, &POLICY, || 0);
    }
    let pushed = send(&mut queue, Lane::High, 'h', Overflow::DropNewest);
    assert_eq!(pushed, Pushed { sent: Sent::QueuedButPause, lost: Lost { count: 1, bytes: 250 }, conflated: false });
    let pushed = queue.push(Lane::High, Source::BRIDGE, named('H', 500), Overflow::DropNewest, &POLICY, || 0);
    assert_eq!(pushed.lost, Lost { count: 2, bytes: 500 });
    assert_eq!(written(&mut queue), "hHd");
    assert_eq!(queue.on_written(850, 0).1, Some(Lost { count: 3, bytes: 750 }));
}

#[test]
fn no_frame_is_dropped_without_need() {
    let mut queue = queue();
    queue.push(Lane::High, Source::BRIDGE, named('h', 800), Overflow::DropNewest, &POLICY, || 0);
    queue.push(Lane::Normal, Source::BRIDGE, named('n', 200), Overflow::DropNewest, &POLICY, || 0);
    let pushed = queue.push(Lane::High, Source::BRIDGE, named('H', 300), Overflow::DropNewest, &POLICY, || 0);
    assert_eq!((pushed.sent, pushed.lost), (Sent::Dropped, Lost { count: 1, bytes: 300 }));
    assert_eq!(written(&mut queue), "hn");
}

#[test]
fn durable_frames_are_never_pushed_out_and_keep_their_order() {
    let mut queue = queue();
    let mut offer = |lane, name| queue.offer(lane, named(name, 200), &POLICY, || 0);
    offer(Lane::High, '1');
    offer(Lane::Normal, '2');
    offer(Lane::High, '3');
    offer(Lane::Low, '4');
    offer(Lane::Control, '5');
    assert_eq!(offer(Lane::High, '6'), Sent::Dropped.into());
    assert_eq!(send(&mut queue, Lane::High, 'h', Overflow::DropNewest).sent, Sent::Dropped);
    assert_eq!(written(&mut queue), "12345");
    assert_eq!(queue.on_written(1000, 0).1, Some(Lost { count: 1, bytes: 100 }));
}

#[test]
fn a_question_of_what_has_come_stays_behind_what_it_asks_for() {
    let mut queue = queue();
    queue.offer(Lane::High, named('1', 10), &POLICY, || 0);
    queue.offer(Lane::Normal, named('2', 10), &POLICY, || 0);
    send(&mut queue, Lane::High, 'h', Overflow::DropNewest);
    queue.offer(Lane::Normal, named('?', 10), &POLICY, || 0);
    send(&mut queue, Lane::Low, 'l', Overflow::DropNewest);
    assert_eq!(written(&mut queue), "1h2?l");
}

#[test]
fn frames_that_yield_make_room_for_newer_ones_and_pause_nobody() {
    let mut queue = queue();
    for name in 'a'..='t' {
        let pushed = send(&mut queue, Lane::Normal, name, Overflow::DropOldest);
        assert_eq!(pushed.sent, Sent::Queued);
    }
    assert_eq!(send(&mut queue, Lane::Normal, 'n', Overflow::DropNewest).lost, Lost { count: 1, bytes: 100 });
    assert_eq!(send(&mut queue, Lane::Low, 'l', Overflow::DropOldest).sent, Sent::Dropped);
    assert_eq!(written(&mut queue), "lmnopqrstn");
}

#[test]
fn the_latest_takes_the_place_of_the_one_that_waits() {
    let key = |hash| Overflow::Latest(StreamKey::from_hash(hash));
    let mut queue = queue();
    send(&mut queue, Lane::Normal, 'a', key(7));
    send(&mut queue, Lane::Normal, 'n', Overflow::DropNewest);
    send(&mut queue, Lane::Normal, 'x', key(8));
    let pushed = queue.push(Lane::Normal, Source::BRIDGE, named('b', 50), key(7), &POLICY, || 0);
    assert_eq!(pushed, Pushed { sent: Sent::Queued, lost: Lost::default(), conflated: true });
    assert!(!send(&mut queue, Lane::High, 'h', key(7)).conflated);
    assert_eq!((queue.bytes(), queue.frames()), (350, 4));
    assert_eq!(written(&mut queue), "hbnx");
    assert!(!send(&mut queue, Lane::Normal, 'c', key(7)).conflated);
    assert_eq!(queue.on_written(350, 0).1, None);
}

#[test]
fn a_latest_that_grows_over_the_bound_is_dropped_and_the_older_one_stays() {
    let key = Overflow::Latest(StreamKey::from_hash(7));
    let mut queue = queue();
    send(&mut queue, Lane::Normal, 'a', key);
    queue.push(Lane::Normal, Source::BRIDGE, named('n', 900), Overflow::DropNewest, &POLICY, || 0);
    assert_eq!(queue.push(Lane::Normal, Source::BRIDGE, named('b', 101), key, &POLICY, || 0).sent, Sent::Dropped);
    assert!(queue.push(Lane::Normal, Source::BRIDGE, named('c', 100), key, &POLICY, || 0).conflated);
    assert_eq!(written(&mut queue), "cn");
}

#[test]
fn frames_merge_only_while_the_reader_is_behind() {
    fn joined(older: &Frame, newer: &Frame) -> Option<Frame> {
        Some(Frame::from_encoded([older.bytes().as_ref(), newer.bytes()].concat().into()))
    }
    let key = Overflow::Merge(StreamKey::from_hash(7), joined);
    let mut queue = queue();
    assert!(!send(&mut queue, Lane::Normal, 'a', key).conflated);
    assert!(!send(&mut queue, Lane::Normal, 'b', key).conflated);
    send(&mut queue, Lane::Normal, 'n', Overflow::DropNewest);
    assert!(send(&mut queue, Lane::Normal, 'c', key).conflated);
    assert_eq!((queue.bytes(), queue.frames()), (400, 3));
    let mut copy = Vec::new();
    queue.take(&mut copy, usize::MAX);
    assert_eq!(copy, [vec![b'a'; 100], vec![b'b'; 100], vec![b'c'; 100], vec![b'n'; 100]].concat());
}

#[test]
fn one_frame_of_any_size_fits_an_empty_queue() {
    let mut queue = queue();
    assert_eq!(push(&mut queue, Lane::Normal, 5000), Sent::QueuedButPause);
    assert_eq!(push(&mut queue, Lane::Normal, 10), Sent::Dropped);
}

#[test]
fn bytes_in_the_writers_hands_still_count() {
    let mut queue = queue();
    assert_eq!(push(&mut queue, Lane::Normal, 900), Sent::QueuedButPause);
    assert_eq!(drain(&mut queue), 900);
    assert_eq!(push(&mut queue, Lane::Normal, 200), Sent::Dropped);
    queue.on_written(900, 0);
    assert_eq!(push(&mut queue, Lane::Normal, 200), Sent::Queued);
}

#[test]
fn close_discards_or_flushes_and_is_the_last_frame() {
    let close = Frame::close(CloseCode::NORMAL, "", None);
    let mut queue = queue();
    push(&mut queue, Lane::Normal, 100);
    assert!(queue.close(CloseCode::NORMAL, close.clone(), CloseMode::Discard, 0));
    assert!(!queue.close(CloseCode::INTERNAL, close.clone(), CloseMode::Discard, 0));
    assert_eq!(push(&mut queue, Lane::Control, 10), Sent::Gone);
    assert!(!queue.is_close_written());
    assert_eq!(drain(&mut queue), close.len());
    queue.on_written(close.len(), 0);
    assert!(queue.is_close_written());
}

#[test]
fn a_queue_without_progress_is_stuck() {
    let mut queue = queue();
    queue.push(Lane::Normal, Source::BRIDGE, frame(10), Overflow::DropNewest, &POLICY, || 100);
    assert_eq!(queue.stuck_for(600), 500);
    drain(&mut queue);
    queue.on_written(10, 700);
    assert_eq!(queue.stuck_for(5000), 0);
}

#[test]
fn a_reader_that_reads_on_is_not_stuck_behind_what_yields_or_can_be_had_again() {
    let mut queue = Queue::new(25_600, &POLICY, 0);
    for at in 0..100 {
        let now = at * 1000;
        while queue.offer(Lane::Normal, frame(1000), &POLICY, || now).sent != Sent::Dropped {}
        queue.push(Lane::Normal, Source::BRIDGE, frame(1000), Overflow::DropOldest, &POLICY, || now);
        let mut copy = Vec::new();
        queue.take(&mut copy, 1000);
        queue.on_written(copy.len(), now);
        queue.on_tick(now);
    }
    assert!(queue.stuck_for(99_000) < 2000);
    assert!(queue.stuck_for(110_000) > 10_000);
}

#[test]
fn a_reader_that_takes_crumbs_is_stuck() {
    let mut queue = Queue::new(25_600, &POLICY, 0);
    queue.offer(Lane::Normal, frame(20_000), &POLICY, || 0);
    let mut copy = Vec::new();
    queue.take(&mut copy, 0);
    for now in 0..10 {
        queue.on_written(1, now * 1000);
    }
    assert!(queue.stuck_for(10_000) >= 10_000);
}

/// A sender of its own group.
fn sender(number: u64) -> Source {
    Source { group: number, sender: number }
}

fn send_of(queue: &mut Queue, source: Source, name: char) -> Sent {
    queue.push(Lane::Normal, source, named(name, 100), Overflow::DropNewest, &POLICY, || 0).sent
}

#[test]
fn a_sender_behind_a_flood_waits_its_turn_and_not_for_the_backlog() {
    let mut queue = Queue::new(1 << 20, &POLICY, 0);
    for flooder in [1, 2] {
        for _ in 0..2000 {
            send_of(&mut queue, sender(flooder), 'f');
        }
    }
    send_of(&mut queue, sender(3), 'a');
    send_of(&mut queue, sender(3), 'b');
    let order = written(&mut queue);
    // What was already in the front, and a turn of each flooder.
    let place = |name| order.find(name).expect("it was written");
    assert!(place('a') < (16 * 1024 + 2 * 4096) / 100 + 3, "{}", place('a'));
    assert_eq!(place('b'), place('a') + 1);
    assert_eq!(order.len(), 4002);
}

#[test]
fn many_sessions_of_one_address_are_one_sender_and_take_turns_among_themselves() {
    let mut queue = Queue::new(1 << 20, &POLICY, 0);
    for round in 0..20 {
        for session in 0..100 {
            send_of(&mut queue, Source { group: 1, sender: session }, if session == 7 { 's' } else { 'f' });
        }
        if round > 10 {
            send_of(&mut queue, sender(2), 'h');
        }
    }
    let order = written(&mut queue);
    let back = &order[order.find('h').expect("written") - 41..];
    // The two addresses get the same number of bytes: as long as the honest one has anything, at
    // least every second turn is its own.
    assert_eq!(back.chars().take(41 + 9).filter(|name| *name == 'h').count(), 9, "{back}");
    let own: Vec<_> = order.match_indices('s').map(|(at, _)| at).collect();
    assert_eq!(own.len(), 20);
    assert!(own.windows(2).skip(3).all(|pair| pair[1] - pair[0] <= 110), "{own:?}");
}

#[test]
fn a_full_queue_costs_the_sender_that_fills_it_and_not_a_new_one() {
    let mut queue = Queue::new(10_000, &POLICY, 0);
    let source = |number: u64| Source { group: 1, sender: number };
    while send_of(&mut queue, source(1), 'f') != Sent::Dropped {}
    for (number, name) in [(2, 'n'), (3, 'm')] {
        assert_eq!(send_of(&mut queue, sender(number), name), Sent::Queued, "nor is it paused");
    }
    // Also for two sessions of one address.
    assert_ne!(send_of(&mut queue, source(2), 's'), Sent::Dropped);
    assert_eq!(send_of(&mut queue, source(1), 'f'), Sent::Dropped);
    assert_eq!((queue.bytes(), queue.frames()), (10_000, 100));
    let order = written(&mut queue);
    for name in ['n', 'm', 's'] {
        assert!(order.contains(name), "{order}");
    }
}

#[test]
fn a_long_frame_is_paid_for_in_later_turns() {
    let mut queue = Queue::new(1 << 20, &POLICY, 0);
    let long = |queue: &mut Queue| {
        queue.push(Lane::Normal, sender(1), named('L', 7000), Overflow::DropNewest, &POLICY, || 0);
    };
    (0..5).for_each(|_| long(&mut queue));
    for _ in 0..500 {
        send_of(&mut queue, sender(2), 's');
    }
    let order = written(&mut queue);
    let longs: Vec<_> = order.match_indices('L').map(|(at, _)| at).collect();
    assert_eq!(longs.len(), 5);
    // 7000 bytes of the one for as many of the other, in turns of 4096.
    assert!(longs.windows(2).skip(2).all(|pair| (40..=90).contains(&(pair[1] - pair[0]))), "{longs:?}");
}

#[test]
fn a_flood_of_high_priority_pushes_out_and_starves_nobody_else() {
    let mut queue = Queue::new(10_000, &POLICY, 0);
    let send = |queue: &mut Queue, lane, source, name| {
        queue.push(lane, source, named(name, 100), Overflow::DropNewest, &POLICY, || 0).sent
    };
    for _ in 0..5 {
        assert_ne!(send(&mut queue, Lane::Normal, sender(1), 'a'), Sent::Dropped);
    }
    while send(&mut queue, Lane::High, sender(2), 'f') != Sent::Dropped {}
    // The flood has most, so it makes room for others, also for those of lower priority.
    for _ in 0..5 {
        assert_eq!(send(&mut queue, Lane::Low, sender(3), 'b'), Sent::Queued, "nor are they paused");
        assert_eq!(send(&mut queue, Lane::Normal, sender(1), 'a'), Sent::Queued);
    }
    assert_eq!(send(&mut queue, Lane::High, sender(2), 'f'), Sent::Dropped);
    // More of the flood comes whenever something is written.
    let mut order = String::new();
    for _ in 0..400 {
        let mut copy = Vec::new();
        queue.take(&mut copy, 0);
        queue.on_written(copy.len(), 0);
        order.extend(copy.first().map(|first| char::from(*first)));
        send(&mut queue, Lane::High, sender(2), 'f');
    }
    assert_eq!((order.matches('a').count(), order.matches('b').count() > 4), (10, true), "{order}");
}

#[test]
fn among_sessions_of_one_address_the_largest_gives_way_whatever_its_lane() {
    let mut queue = Queue::new(10_000, &POLICY, 0);
    let source = |session: u64| Source { group: 1, sender: session };
    let send = |queue: &mut Queue, lane, source, name| {
        queue.push(lane, source, named(name, 100), Overflow::DropNewest, &POLICY, || 0).sent
    };
    while send(&mut queue, Lane::High, source(1), 'f') != Sent::Dropped {}
    for _ in 0..20 {
        assert_ne!(send(&mut queue, Lane::Low, source(2), 's'), Sent::Dropped);
        // Another address has less than both together.
        assert_ne!(send(&mut queue, Lane::Normal, sender(3), 'n'), Sent::Dropped);
    }
    let order = written(&mut queue);
    assert_eq!([order.matches('s').count(), order.matches('n').count(), order.len()], [20, 20, 100], "{order}");
}

#[test]
fn the_turn_of_the_normal_lane_keeps_the_order_of_durable_frames() {
    let mut queue = Queue::new(1 << 20, &POLICY, 0);
    for _ in 0..3 * TURN {
        queue.push(Lane::High, sender(1), named('f', 10), Overflow::DropNewest, &POLICY, || 0);
    }
    queue.offer(Lane::High, named('1', 10), &POLICY, || 0);
    queue.offer(Lane::Normal, named('2', 10), &POLICY, || 0);
    queue.push(Lane::Normal, sender(3), named('n', 10), Overflow::DropNewest, &POLICY, || 0);
    let order = written(&mut queue);
    assert!(order.find('1') < order.find('2'), "{order}");
}

#[test]
fn an_answer_of_the_bridge_finds_room_beside_a_flood_of_control_priority() {
    let mut queue = Queue::new(10_000, &POLICY, 0);
    let control = |queue: &mut Queue, source, name| {
        queue.push(Lane::Control, source, named(name, 100), Overflow::DropNewest, &POLICY, || 0).sent
    };
    while control(&mut queue, sender(1), 'f') != Sent::Dropped {}
    for _ in 0..10 {
        assert_ne!(control(&mut queue, Source::BRIDGE, 'p'), Sent::Dropped);
        assert_ne!(send_of(&mut queue, sender(2), 'n'), Sent::Dropped);
    }
    let order = written(&mut queue);
    assert_eq!((order.matches('p').count(), order.matches('n').count()), (10, 10), "{order}");
}
