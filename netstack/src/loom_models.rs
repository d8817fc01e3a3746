//! Races of a waiter against who publishes. Each was seen to fail by a mutation:
//!
//! - *a publication against arm and look*: either fence is left out.
//! - *two publishers and one waiter*: as above, or `wake` takes the announcement
//!   back after it has counted.
//! - *a waiter that leaves against one that stays*: a waiter whose look finds
//!   something takes the announcement back.

use crate::notify::{Notify, publish_fence};
use crate::sync::Ordering;
use loom::sync::Arc;
use loom::sync::atomic::AtomicUsize;
use loom::thread;

/// Something to wait for, and the place to wait.
#[derive(Default)]
struct Place {
    published: AtomicUsize,
    notify: Notify,
}

impl Place {
    fn publish(&self) {
        // Relaxed, to leave everything to the fences.
        self.published.fetch_add(1, Ordering::Relaxed);
        publish_fence();
        self.notify.notify_fenced();
    }

    fn wait_for(&self, count: usize) {
        let found = self
            .notify
            .wait(None, || self.published.load(Ordering::Relaxed) >= count);
        assert!(found);
    }
}

fn place() -> Arc<Place> {
    Arc::new(Place::default())
}

fn publisher(place: &Arc<Place>) -> thread::JoinHandle<()> {
    let place = place.clone();
    thread::spawn(move || place.publish())
}

/// The race: the publisher looks for a waiter before the waiter's announcement
/// is there, and the waiter looks before the publication is there. A lost
/// wake-up is a deadlock, which loom reports.
#[test]
fn a_publication_against_arm_and_look() {
    loom::model(|| {
        let place = place();
        let publisher = publisher(&place);
        place.wait_for(1);
        publisher.join().unwrap();
    });
}

/// The race: one publisher takes the announcement back while the waiter, woken
/// by the other, announces itself anew.
#[test]
fn two_publishers_and_one_waiter() {
    loom::model(|| {
        let place = place();
        let publishers = [publisher(&place), publisher(&place)];
        place.wait_for(2);
        for publisher in publishers {
            publisher.join().unwrap();
        }
    });
}

/// The race: a waiter finds what it wants in its second look and leaves, while
/// another one, with the same announcement, goes to sleep.
#[test]
fn a_waiter_that_leaves_against_one_that_stays() {
    loom::model(|| {
        let place = place();
        let leaver = place.clone();
        let leaver = thread::spawn(move || {
            let mut looks = 0;
            leaver.notify.wait(None, || {
                looks += 1;
                looks == 2
            });
        });
        let publisher = publisher(&place);
        place.wait_for(1);
        leaver.join().unwrap();
        publisher.join().unwrap();
    });
}
