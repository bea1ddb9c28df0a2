//! Kernel pipes and splice(2): Linux only. Elsewhere there is a pipe type that cannot be opened.

#[cfg(target_os = "linux")]
pub use linux::{KernelPipe, pipes_allowed, splice_in, splice_out};

#[cfg(not(target_os = "linux"))]
pub use elsewhere::{KernelPipe, pipes_allowed, splice_in, splice_out};

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;
    use std::io;
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
    use std::ptr;

    use crate::buffers::pipe_pool::Pipe;

    /// Bytes asked for as the size of a pipe: the most an unprivileged user may have (pipe(7), `pipe-max-size`).
    const SIZE: libc::c_int = 1 << 20;

    /// A pipe that holds less than this is not worth its two descriptors.
    const LEAST_SIZE: libc::c_int = 64 << 10;

    /// Linux's own `pipe-user-pages-soft`, in pages.
    const DEFAULT_PAGES: usize = 16384;

    /// Bytes of a page; where pages are larger, fewer pipes are taken than might be.
    const PAGE: usize = 4096;

    /// Pipes of one process at the most, where the user's memory for them is not limited.
    const MOST_PIPES: usize = 512;

    /// Both ends of a pipe.
    #[derive(Debug)]
    pub struct KernelPipe {
        reader: OwnedFd,
        writer: OwnedFd,
    }

    impl Pipe for KernelPipe {
        fn open() -> io::Result<KernelPipe> {
            let mut ends = [-1; 2];
            // SAFETY: the call fills the two descriptors, which nobody else owns then.
            let pipe = unsafe {
                check(libc::pipe2(ends.as_mut_ptr(), libc::O_NONBLOCK | libc::O_CLOEXEC) as isize)?;
                KernelPipe { reader: OwnedFd::from_raw_fd(ends[0]), writer: OwnedFd::from_raw_fd(ends[1]) }
            };
            // SAFETY: fcntl on a descriptor that we own; neither command takes a pointer.
            let size = unsafe {
                libc::fcntl(ends[1], libc::F_SETPIPE_SZ, SIZE);
                libc::fcntl(ends[1], libc::F_GETPIPE_SZ)
            };
            if size < LEAST_SIZE {
                // The user's share of memory for pipes is used up (pipe(7), `pipe-user-pages-soft`).
                return Err(io::Error::from_raw_os_error(libc::ENFILE));
            }
            Ok(pipe)
        }
    }

    /// Moves at most `limit` bytes from a socket into a pipe, which must be empty: then `WouldBlock` can only mean
    /// that the socket is, and `Ok(0)` is the end of the stream. Fewer bytes than asked for may be due to either.
    pub fn splice_in(socket: RawFd, pipe: &KernelPipe, limit: usize) -> io::Result<usize> {
        splice(socket, pipe.writer.as_raw_fd(), limit)
    }

    /// Moves at most `bytes` bytes, which the pipe must hold, into a socket.
    pub fn splice_out(pipe: &KernelPipe, socket: RawFd, bytes: usize) -> io::Result<usize> {
        splice(pipe.reader.as_raw_fd(), socket, bytes)
    }

    fn splice(from: RawFd, to: RawFd, bytes: usize) -> io::Result<usize> {
        let flags = libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK;
        // SAFETY: splice(2) takes no memory of ours: both offsets are null, as sockets and pipes demand.
        let moved = unsafe { libc::splice(from, ptr::null_mut(), to, ptr::null_mut(), bytes, flags) };
        check(moved)
    }

    fn check(result: isize) -> io::Result<usize> {
        usize::try_from(result).map_err(|_| io::Error::last_os_error())
    }

    /// How many pipes this process may have, by the user's share of memory for them. Privileged users may have more,
    /// but it is a good bound for the bytes that a proxy holds, too.
    pub fn pipes_allowed() -> usize {
        let pages: Option<usize> =
            fs::read_to_string("/proc/sys/fs/pipe-user-pages-soft").ok().and_then(|text| text.trim().parse().ok());
        match pages {
            Some(0) => MOST_PIPES,
            pages => (pages.unwrap_or(DEFAULT_PAGES).saturating_mul(PAGE) / SIZE as usize).min(MOST_PIPES),
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use std::io::{Read, Write};
        use std::os::unix::net::UnixStream;

        #[test]
        fn bytes_go_through_a_pipe_unchanged() {
            let (mut client, inside) = UnixStream::pair().unwrap();
            let (outside, mut remote) = UnixStream::pair().unwrap();
            inside.set_nonblocking(true).unwrap();
            let pipe = KernelPipe::open().unwrap();
            let empty = splice_in(inside.as_raw_fd(), &pipe, 100).unwrap_err();
            assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
            client.write_all(b"some bytes").unwrap();
            assert_eq!(splice_in(inside.as_raw_fd(), &pipe, 4).unwrap(), 4);
            assert_eq!(splice_out(&pipe, outside.as_raw_fd(), 4).unwrap(), 4);
            assert_eq!(splice_in(inside.as_raw_fd(), &pipe, 100).unwrap(), 6);
            assert_eq!(splice_out(&pipe, outside.as_raw_fd(), 6).unwrap(), 6);
            drop(client);
            assert_eq!(splice_in(inside.as_raw_fd(), &pipe, 100).unwrap(), 0);
            drop(outside);
            let mut text = String::new();
            remote.read_to_string(&mut text).unwrap();
            assert_eq!(text, "some bytes");
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use std::io;
    use std::os::fd::RawFd;

    use crate::buffers::pipe_pool::Pipe;

    /// A pipe that cannot be opened.
    #[derive(Debug)]
    pub enum KernelPipe {}

    impl Pipe for KernelPipe {
        fn open() -> io::Result<KernelPipe> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    /// Never called: there is no pipe to call it with.
    pub fn splice_in(_socket: RawFd, pipe: &KernelPipe, _limit: usize) -> io::Result<usize> {
        match *pipe {}
    }

    /// Never called: there is no pipe to call it with.
    pub fn splice_out(pipe: &KernelPipe, _socket: RawFd, _bytes: usize) -> io::Result<usize> {
        match *pipe {}
    }

    /// None.
    pub fn pipes_allowed() -> usize {
        0
    }
}
