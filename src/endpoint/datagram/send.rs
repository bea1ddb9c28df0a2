//! Sending several datagrams or trains at once.

use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::ptr;

use super::Origin;
use super::control::{Control, tell};
use super::message::{Message, send_messages};
use super::train::Train;
use crate::buffers::batch::{Batch, MOST_DATAGRAMS};

/// Pieces of memory named in one system call.
const MOST_PIECES: usize = 128;

/// Sends the first datagrams left, as many as fit into one call. Returns how many went, and in `first_train` how many
/// were in the first train.
pub(super) fn send(
    socket: &impl AsRawFd,
    longest_in_train: usize,
    batch: &Batch,
    to: Option<&Origin>,
    first_train: &mut usize,
) -> io::Result<usize> {
    let mut pieces = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; MOST_PIECES];
    let mut controls = [const { mem::MaybeUninit::<Control>::uninit() }; MOST_DATAGRAMS];
    // SAFETY: a message header is plain old data, for which all zeros is a valid value.
    let mut messages: [Message; MOST_DATAGRAMS] = unsafe { mem::zeroed() };
    let mut trains = [0; MOST_DATAGRAMS];
    let (mut count, mut used) = (0, 0);
    let mut datagrams = batch.datagrams().peekable();
    while count < MOST_DATAGRAMS && used < MOST_PIECES {
        let Some(first) = datagrams.next() else { break };
        let header = &mut messages[count].msg_hdr;
        pieces[used] = piece(first);
        let mut train = Train::new(first.len(), longest_in_train);
        while let Some(next) = datagrams.next_if(|next| used + train.length < MOST_PIECES && train.takes(next.len())) {
            pieces[used + train.length - 1] = piece(next);
        }
        header.msg_iovlen = train.length as _;
        if let Some(to) = to {
            header.msg_name = to.peer.as_ptr().cast_mut().cast();
            header.msg_namelen = to.peer.len();
        }
        let segment = if train.length > 1 { Some(first.len()) } else { None };
        tell(header, &mut controls[count], segment, to.and_then(|to| to.local));
        trains[count] = train.length;
        used += train.length;
        count += 1;
    }
    let mut next = pieces.as_mut_ptr();
    for (message, &length) in messages.iter_mut().zip(&trains[..count]) {
        message.msg_hdr.msg_iov = next;
        next = next.wrapping_add(length);
    }
    *first_train = trains[0];
    let sent = send_messages(socket.as_raw_fd(), &mut messages[..count])?;
    Ok(trains[..sent].iter().sum())
}

fn piece(datagram: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: datagram.as_ptr().cast_mut().cast(), iov_len: datagram.len() }
}
