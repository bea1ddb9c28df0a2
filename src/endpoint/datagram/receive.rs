//! Reading several datagrams or trains at once.

use socket2::{SockAddr, SockAddrStorage};
use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::ptr;

use super::control::{Control, Told};
use super::message::{Message, receive_messages};
use super::{Family, Origin};
use crate::buffers::batch::{Batch, MOST_DATAGRAMS, Undelivered};

/// Reads at most `asked` datagrams; `None` is the end of the stream.
pub(super) fn receive(
    socket: &impl AsRawFd,
    asked: usize,
    family: Family,
    batch: &mut Batch,
    origins: Option<&mut Vec<Origin>>,
) -> io::Result<Option<usize>> {
    let mut pieces = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; MOST_DATAGRAMS];
    let mut starts = [0; MOST_DATAGRAMS];
    let mut names = origins.is_some().then(|| [(); MOST_DATAGRAMS].map(|()| SockAddrStorage::zeroed()));
    let mut controls = [const { mem::MaybeUninit::<Control>::uninit() }; MOST_DATAGRAMS];
    // SAFETY: a message header is plain old data, for which all zeros is a valid value.
    let mut messages: [Message; MOST_DATAGRAMS] = unsafe { mem::zeroed() };
    for (index, (start, room)) in batch.rooms().take(asked).enumerate() {
        starts[index] = start;
        pieces[index] = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
        let header = &mut messages[index].msg_hdr;
        header.msg_iov = &raw mut pieces[index];
        header.msg_iovlen = 1;
        header.msg_control = controls[index].as_mut_ptr().cast();
        header.msg_controllen = family.control_room() as _;
        if let Some(names) = &mut names {
            header.msg_name = (&raw mut names[index]).cast();
            header.msg_namelen = names[index].size_of();
        }
    }
    let count = receive_messages(socket.as_raw_fd(), &mut messages[..asked])?;
    let mut origins = origins;
    for (index, message) in messages[..count].iter().enumerate() {
        let (length, header) = (message.msg_len as usize, &message.msg_hdr);
        let told = Told::new(header);
        if length == 0 && family == Family::UnixPacket && !told.is_datagram {
            // Nothing can be behind the end.
            return Ok(if index == 0 { None } else { Some(index) });
        }
        if header.msg_flags & libc::MSG_TRUNC != 0 {
            batch.count_dropped(Undelivered::TooLarge);
            continue;
        }
        let before = batch.count();
        match told.segment {
            Some(segment) => batch.add_chunks(starts[index], length, segment),
            None => batch.add(starts[index], length),
        }
        if let (Some(origins), Some(names)) = (&mut origins, &mut names) {
            let name = mem::replace(&mut names[index], SockAddrStorage::zeroed());
            // SAFETY: the kernel wrote the sender's name, of this length; it cannot be longer than what it was given.
            let peer = unsafe { SockAddr::new(name, header.msg_namelen) };
            let origin = Origin { peer, local: told.local };
            origins.extend(std::iter::repeat_n(origin, batch.count() - before));
        }
    }
    Ok(Some(count))
}
