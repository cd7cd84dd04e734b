// Package e2e has tests only: the Go packages with snapshots of the real lamina program, in both
// directions. They are skipped unless LAMINA names that program (and FAKE_VM, for page faults, the
// stand-in of a VM); ctest sets both.
package e2e
