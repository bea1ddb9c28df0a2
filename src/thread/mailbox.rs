//! How other threads reach a thread that sleeps in its poll: a channel, and a wake-up only if it sleeps.

use crossbeam_channel::{Receiver, Sender, unbounded};
use mio::{Events, Poll, Registry, Token, Waker};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::Duration;

/// Whether the receiving thread sleeps or is about to, in a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Asleep(AtomicBool);

/// Wakes a thread if it sleeps.
#[derive(Debug, Clone)]
pub struct Bell {
    asleep: Arc<Asleep>,
    waker: Arc<Waker>,
}

impl Bell {
    /// Wakes the thread, unless it is awake and will look at what it is woken for before it sleeps.
    pub fn ring(&self) {
        // Pairs with the fence in `Inbox::sleep`: either we see that the thread sleeps, or it sees what we did before.
        fence(Ordering::SeqCst);
        if self.asleep.0.load(Ordering::Relaxed) && self.asleep.0.swap(false, Ordering::Relaxed) {
            if let Err(error) = self.waker.wake() {
                log::error!("waking a thread failed: {error}");
            }
        }
    }
}

/// The sending end; clones reach the same thread.
#[derive(Debug)]
pub struct Mailbox<T> {
    sender: Sender<T>,
    bell: Bell,
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Mailbox<T> {
        Mailbox { sender: self.sender.clone(), bell: self.bell.clone() }
    }
}

/// The receiving end, for the thread that owns the poll.
#[derive(Debug)]
pub struct Inbox<T> {
    receiver: Receiver<T>,
    asleep: Arc<Asleep>,
    /// A wake-up would be lost if the waker were closed with the last mailbox.
    _waker: Arc<Waker>,
}

/// Makes both ends; the poll of `registry` reports `token` when a message came while its thread slept.
pub fn mailbox<T>(registry: &Registry, token: Token) -> io::Result<(Mailbox<T>, Inbox<T>)> {
    let (sender, receiver) = unbounded();
    let asleep = Arc::new(Asleep::default());
    let waker = Arc::new(Waker::new(registry, token)?);
    let inbox = Inbox { receiver, asleep: asleep.clone(), _waker: waker.clone() };
    Ok((Mailbox { sender, bell: Bell { asleep, waker } }, inbox))
}

impl<T> Mailbox<T> {
    /// Sends a message and wakes the thread if it sleeps.
    ///
    /// # Errors
    ///
    /// The message, if the thread is gone.
    pub fn send(&self, message: T) -> Result<(), T> {
        self.sender.send(message).map_err(|error| error.into_inner())?;
        self.bell.ring();
        Ok(())
    }

    /// What wakes the thread without a message.
    pub fn bell(&self) -> &Bell {
        &self.bell
    }
}

impl<T> Inbox<T> {
    /// Polls for at most `wait` (`None`: until an event comes), and not at all longer than until a message is there, or,
    /// by `awaits`, what the thread may have been woken for without one.
    pub fn poll(&self, poll: &mut Poll, events: &mut Events, wait: Option<Duration>, awaits: impl FnOnce() -> bool) {
        let sleeps = wait != Some(Duration::ZERO) && self.sleep(awaits);
        let mut result = poll.poll(events, if sleeps { wait } else { Some(Duration::ZERO) });
        if sleeps {
            self.wake_up();
        }
        if matches!(&result, Err(error) if error.kind() == io::ErrorKind::Interrupted) {
            // A process that was stopped and goes on is told so first. What came meanwhile counts before the time.
            result = poll.poll(events, Some(Duration::ZERO));
        }
        match result {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                log::error!("poll error: {}", crate::base::error::error_text(&error));
            }
            _ => {}
        }
    }

    /// Announces that the thread is going to sleep. `false`: it must not, a message is there.
    fn sleep(&self, awaits: impl FnOnce() -> bool) -> bool {
        self.asleep.0.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.receiver.is_empty() && awaits() {
            return true;
        }
        self.wake_up();
        false
    }

    /// Announces that the thread is awake, so that nobody need wake it.
    fn wake_up(&self) {
        self.asleep.0.store(false, Ordering::Relaxed);
    }

    /// The next message, if there is one.
    pub fn next(&self) -> Option<T> {
        self.receiver.try_recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn no_message_is_slept_through() {
        let mut poll = Poll::new().unwrap();
        let (mailbox, inbox) = mailbox::<u32>(poll.registry(), Token(0)).unwrap();
        let sender = thread::spawn(move || {
            for number in 0..20_000 {
                mailbox.send(number).unwrap();
                if number % 7 == 0 {
                    thread::yield_now();
                }
            }
        });
        let mut events = Events::with_capacity(4);
        let mut expected = 0;
        while expected < 20_000 {
            if inbox.sleep(|| true) {
                poll.poll(&mut events, None).unwrap();
                inbox.wake_up();
            }
            while let Some(number) = inbox.next() {
                assert_eq!(number, expected);
                expected += 1;
            }
        }
        sender.join().unwrap();
    }
}
