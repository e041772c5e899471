//go:build linux

// Command erwik-shape makes the link from one container to another slow, to
// show what a mesh does about it. It runs beside a node, in the node's network
// namespace, and limits what the node sends to one other host; all other
// traffic is untouched. Two of them, one at each end, make a slow link.
//
// It is no part of a node, and a node needs no right that this program needs
// (CAP_NET_ADMIN).
//
// # Guarantees
//
//  1. Four times a second it looks whether the limit is in place, for the addresses
//     that the host's name has now, and puts it there if not.
//  2. A node that restarts has a new network namespace, without a limit, and
//     this program is left behind in the old one. It then waits until the node
//     runs again, which the lock in the node's data directory tells, and ends
//     with status 1, so that the container engine starts it again, in the new
//     namespace. To end before would be for good: an engine does not start a
//     container in the network of one that does not run, and does not try again.
//  3. SIGTERM and SIGINT lift the limit and end it, after two seconds: if the
//     node stops in this time, all containers are being restarted, and it ends
//     when the node runs again, for the same reason, at most 9 s later.
//
// # Limits
//
// IPv4 only. It limits a rate, it adds no delay: a packet that comes alone
// passes at once, and what follows waits until its time is over. An idle link
// therefore looks fast until something is sent. Nothing is dropped: TCP takes a
// packet that its own host dropped for a broken route.
package main
