// Command erwik serves a wiki that runs as a mesh, and speaks to nodes that do.
//
// This package only puts pieces together: flags, environment and file become
// the settings of packages storage, cluster and wiki, which it opens in that
// order and closes in reverse. It holds no state and decides nothing about
// pages or nodes.
//
// # Guarantees
//
//  1. Flags win over ERWIK_* variables, and these over the configuration file.
//  2. Exit status 0 is success, 1 is failure, 2 is wrong usage.
//  3. Data goes to standard output and messages to standard error; progress is
//     drawn on terminals only. With --json, facts are JSON.
//  4. The first line that serve prints is "listening on http://HOST:PORT"; when
//     the node is ready, "ready node=<id> name=<name> digest=<hex>" follows.
//  5. SIGTERM and SIGINT drain and leave; a second one ends at once.
package main
