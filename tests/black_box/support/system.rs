//! What Linux tells about a process and its sockets.

use std::ffi::CString;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::ptr;
use std::thread;
use std::time::Duration;

use super::Address;

/// The descriptors that a process has open.
pub fn open_descriptors(pid: u32) -> Vec<u32> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("a process");
    let name = |entry: fs::DirEntry| entry.file_name().to_str().and_then(|name| name.parse().ok());
    entries.filter_map(|entry| entry.ok().and_then(name)).collect()
}

/// The flags of an open descriptor, or none if it is not open any more.
pub fn descriptor_flags(pid: u32, descriptor: u32) -> Option<i32> {
    let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{descriptor}")).ok()?;
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
    i32::from_str_radix(flags.trim(), 8).ok()
}

/// A field of `/proc/PID/status` in bytes: `VmRSS`, or `VmHWM` for the most there ever was.
pub fn memory(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).expect(field);
    let kilobytes: u64 = value.trim().trim_end_matches(" kB").parse().expect("a number");
    kilobytes * 1024
}

/// The processor time a process has used, in hundredths of a second.
pub fn processor_time(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
    // utime and stime, numbers 14 and 15 in proc(5); the first field here is number 3.
    fields[11..13].iter().map(|field| field.parse::<u64>().expect("a number")).sum()
}

/// Whether all threads of a process wait for something. One that only waits for a processor does not, nor does one that is
/// stopped.
pub fn sleeps(pid: u32) -> bool {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("a process");
    tasks.flatten().all(|task| fs::read_to_string(task.path().join("stat")).is_ok_and(|stat| stat.contains(") S ")))
}

/// Checks that a process does next to nothing in this time, once what led to that is over; a busy machine may take longer
/// for it. One that spins never rests. That something does not happen can only be waited for.
pub fn rests(pid: u32, time: Duration, what: &str) {
    const TRIES: usize = 8;
    // A spinning thread wakes up all the time, or uses all of it.
    let most_ticks = (time.as_millis() as u64 / 100).max(5);
    let most_wakeups = time.as_millis() as u64 / 8;
    let work = || (processor_time(pid), wakeups(pid));
    let mut used = Vec::new();
    for _ in 0..TRIES {
        let before = work();
        thread::sleep(time);
        let after = work();
        let (ticks, count) = (after.0 - before.0, after.1 - before.1);
        if ticks <= most_ticks && count <= most_wakeups {
            return;
        }
        used.push((ticks, count));
    }
    panic!("{what}: hundredths of a second of processor time, and wake-ups, each time in {time:?}: {used:?}");
}

/// How often the threads of a process have gone to sleep.
pub fn wakeups(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("a process");
    let of_task = |task: fs::DirEntry| {
        let status = fs::read_to_string(task.path().join("status")).expect("a thread");
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).expect("a count");
        count.trim().parse::<u64>().expect("a number")
    };
    tasks.flatten().map(of_task).sum()
}

/// Whether the system keeps no more connections in TIME_WAIT: `tcp_max_tw_buckets`.
pub fn time_wait_is_full() -> bool {
    let most =
        fs::read_to_string("/proc/sys/net/ipv4/tcp_max_tw_buckets").ok().and_then(|text| text.trim().parse().ok());
    let sockets = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    let now = sockets.split_whitespace().skip_while(|&word| word != "tw").nth(1).and_then(|text| text.parse().ok());
    matches!((now, most), (Some::<u64>(now), Some::<u64>(most)) if now >= most)
}

/// Whether SIGSTOP has stopped all threads of a process.
pub fn is_stopped(pid: u32) -> bool {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("a process");
    tasks.flatten().all(|task| fs::read_to_string(task.path().join("stat")).is_ok_and(|stat| stat.contains(") T ")))
}

/// A duplicate of a process's descriptor, where the system has pidfd_getfd(2) and allows it.
pub fn duplicate(pid: u32, descriptor: i32) -> io::Result<OwnedFd> {
    let check = |result: libc::c_long| match result {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: the system has just made this descriptor for us.
        fd => Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) }),
    };
    // SAFETY: these calls take numbers only.
    unsafe {
        let process = check(libc::syscall(libc::SYS_pidfd_open, pid, 0))?;
        check(libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), descriptor, 0))
    }
}

/// The value of a TCP socket's option.
pub fn tcp_option(socket: &impl AsRawFd, option: i32) -> i32 {
    let mut value = 0;
    let mut length = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the pointers are to live values.
    let result = unsafe {
        let value = ptr::from_mut(&mut value).cast();
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, option, value, &mut length)
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    value
}

/// What was sent through a socket and not taken yet: by the reader if it is a Unix socket, by its system if it is TCP.
pub fn untaken(socket: &impl AsRawFd) -> i32 {
    let mut count = 0;
    // SAFETY: the pointer is to a live number.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &mut count) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    count
}

/// Has every send of a UDP socket be a train of datagrams of this size, the last of which may be shorter.
pub fn send_trains(socket: &impl AsRawFd, size: i32) {
    let length = size_of_val(&size) as libc::socklen_t;
    let fd = socket.as_raw_fd();
    // SAFETY: the pointer is to a live number of this length.
    let result = unsafe { libc::setsockopt(fd, libc::SOL_UDP, libc::UDP_SEGMENT, ptr::from_ref(&size).cast(), length) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

/// Sends a datagram with a descriptor of the socket itself.
pub fn send_with_descriptor(socket: &impl AsRawFd, datagram: &[u8]) {
    #[repr(C, align(8))]
    struct Control([u8; 64]);
    let mut control = Control([0; 64]);
    let mut piece = libc::iovec { iov_base: datagram.as_ptr().cast_mut().cast(), iov_len: datagram.len() };
    let length = size_of::<libc::c_int>() as u32;
    // SAFETY: a header of zeros is valid; what it is given is alive and as long as it says, and the macros stay within
    // the control data, which has room for one descriptor.
    let sent = unsafe {
        let mut header: libc::msghdr = std::mem::zeroed();
        header.msg_iov = &mut piece;
        header.msg_iovlen = 1;
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = libc::CMSG_SPACE(length) as _;
        let message = libc::CMSG_FIRSTHDR(&header);
        (*message).cmsg_level = libc::SOL_SOCKET;
        (*message).cmsg_type = libc::SCM_RIGHTS;
        (*message).cmsg_len = libc::CMSG_LEN(length) as _;
        libc::CMSG_DATA(message).cast::<libc::c_int>().write_unaligned(socket.as_raw_fd());
        libc::sendmsg(socket.as_raw_fd(), &header, 0)
    };
    assert_eq!(sent, datagram.len() as isize, "{}", io::Error::last_os_error());
}

/// How many connections wait to be accepted, and how many may.
pub fn accept_queue(listener: &impl AsRawFd) -> (u32, u32) {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the pointers are to live values, and a tcp_info of zeros is valid.
    let info = unsafe {
        let fd = listener.as_raw_fd();
        let result = libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &mut length);
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
        info.assume_init()
    };
    (info.tcpi_unacked, info.tcpi_sacked)
}

/// TCP's numbers for the states of a connection, as in `/proc/net/tcp`.
pub const TIME_WAIT: u8 = 6;
const LISTEN: u8 = 10;

/// Whether TCP has a socket in this state whose local port is this.
pub fn has_socket(state: u8, local_port: u16) -> bool {
    let (port, state) = (format!(":{local_port:04X}"), format!("{state:02X}"));
    let tables = ["tcp", "tcp6"].map(|name| fs::read_to_string(format!("/proc/net/{name}")).unwrap_or_default());
    tables.iter().flat_map(|table| table.lines().skip(1)).any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields[1].ends_with(&port) && fields[3] == state
    })
}

/// How many bytes, as the kernel counts them, wait at the UDP sockets of a port to be read.
pub fn udp_queue(local_port: u16) -> u64 {
    let port = format!(":{local_port:04X}");
    let tables = ["udp", "udp6"].map(|name| fs::read_to_string(format!("/proc/net/{name}")).unwrap_or_default());
    let queue = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, received) = fields[4].split_once(':').expect("two queues");
        fields[1].ends_with(&port).then(|| u64::from_str_radix(received, 16).expect("a number"))
    };
    tables.iter().flat_map(|table| table.lines().skip(1)).filter_map(queue).sum()
}

/// Whether somebody listens at an address, found out without knocking.
pub fn is_listening(address: &Address) -> bool {
    const ACCEPTS: &str = "00010000";
    let name = match address {
        Address::Tcp(address) => return has_socket(LISTEN, address.port()),
        Address::Path(path) => path.display().to_string(),
        Address::Abstract(name) => format!("@{name}"),
        Address::With(..) => panic!("{address}: nobody asks"),
    };
    let table = fs::read_to_string("/proc/net/unix").expect("the table");
    table.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(7) == Some(&name.as_str()) && fields[3] == ACCEPTS
    })
}

/// What a child calls before it runs the program so that files of the system's are others to it: `(theirs, ours)`.
pub fn replacing(files: &[(&str, &Path)]) -> impl FnMut() -> io::Result<()> + Send + Sync + 'static {
    let path = |path: &Path| CString::new(path.to_str().expect("UTF-8")).expect("no NUL");
    let files: Vec<_> = files.iter().map(|(theirs, ours)| (path(Path::new(theirs)), path(ours))).collect();
    let root = path(Path::new("/"));
    move || {
        let check = |result: i32| if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
        // SAFETY: the strings live in the closure and end in NUL.
        unsafe {
            check(libc::unshare(libc::CLONE_NEWNS))
                .or_else(|_| check(libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS)))?;
            check(libc::mount(ptr::null(), root.as_ptr(), ptr::null(), libc::MS_REC | libc::MS_PRIVATE, ptr::null()))?;
            for (theirs, ours) in &files {
                check(libc::mount(ours.as_ptr(), theirs.as_ptr(), ptr::null(), libc::MS_BIND, ptr::null()))?;
            }
        }
        Ok(())
    }
}
