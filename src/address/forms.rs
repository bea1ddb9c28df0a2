//! The forms of an address, for help and manual.

/// The forms of an address and what each is.
pub const FORMS: &[(&str, &str)] = &[
    (
        "<host>:<port>",
        "TCP. The last colon separates the two: a name, an IPv4 or an IPv6 address, and a number or a service name",
    ),
    ("[<v6>]:<port>", "TCP, with an IPv6 address in brackets"),
    ("tcp:<host>:<port>", "TCP, the same with its kind written out"),
    (
        "udp:<host>:<port>",
        "UDP. With -l each address that datagrams come from has a session; with -r each session has a socket",
    ),
    ("unix:<path>", "a Unix stream socket"),
    ("unix:@<name>", "a Unix stream socket with an abstract name (Linux); other Unix sockets can have one too"),
    ("unixpacket:<path>", "a Unix socket of packets (SEQPACKET)"),
    ("unixgram:<path>", "a Unix datagram socket. With -l each sender that is bound to an address has a session"),
    (
        "stripe:<host>:<port>",
        "a stream over several TCP connections, its lanes, to another cproxy. With -r, several addresses with + between them take lanes in turn",
    ),
    (
        "framed:<host>:<port>",
        "datagrams over TCP: the length of each one is sent before it, in two bytes. So it is with framed:stripe:",
    ),
    ("framed:unix:<path>", "datagrams over a Unix stream socket, in the same way"),
    ("tun:<name>", "a network device (Linux); each IP packet is a datagram"),
    ("tap:<name>", "a network device (Linux); each Ethernet frame is a datagram"),
    (
        "srv:<name>",
        "the servers that the SRV records of this name list, as in srv:_http._tcp.example.com, with their ports, weights and priorities; only for -r",
    ),
    (
        "original:",
        "where the client had wanted to go before the kernel led it here, by TPROXY or REDIRECT (Linux); only for -r",
    ),
    ("echo:", "a service in cproxy itself that answers with what it gets; only for -r"),
];
