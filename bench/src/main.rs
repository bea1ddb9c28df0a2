//! The command line of `cproxy-bench`; everything it does is in the library beside it.

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    cproxy_bench::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    eprintln!("cproxy-bench reads /proc and drives epoll: it runs on Linux only");
    std::process::ExitCode::FAILURE
}
