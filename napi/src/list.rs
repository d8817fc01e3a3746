//! Stand-in for the poll list.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use std::sync::Mutex;

#[derive(Clone)]
pub(crate) struct Sender(Arc<Mutex<VecDeque<u32>>>);
pub(crate) struct Receiver(Arc<Mutex<VecDeque<u32>>>);

pub(crate) fn channel(_capacity: usize) -> (Sender, Receiver) {
    let q = Arc::new(Mutex::new(VecDeque::new()));
    (Sender(q.clone()), Receiver(q))
}
impl Sender {
    pub(crate) fn push(&self, item: u32) -> Result<(), u32> {
        self.0.lock().map_err(|_| item)?.push_back(item);
        Ok(())
    }
}
impl Receiver {
    pub(crate) fn pop(&mut self) -> Option<u32> {
        self.0.lock().ok()?.pop_front()
    }
}
