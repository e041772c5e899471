// Package integration asks whether the real thing survives: it builds the
// binary once and runs it as processes, on loopback and in network namespaces
// that it makes itself, kills them, throttles their links, and looks at what
// they answer over HTTP. It also holds the tests of the repository's own shape.
//
// It imports no other package of the project but in benchmarks: what it tests
// is what a stranger would see.
//
// Tests that make network namespaces need root, iproute2 and nftables, and the
// one of the containers docker.io and docker-compose; `make test` installs what
// is missing. Nothing is skipped: without them a test fails and says what to
// do. All traffic stays on loopback or inside the namespaces; the container
// engine is started inside one too, with files, mounts and processes of its own.
package integration
