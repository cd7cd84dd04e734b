package snapshot

// ZeroMeaning is what a block of zeros in a diff means.
type ZeroMeaning int

const (
	// ZerosWritten: what was written is written, zeros too. The right meaning for the diffs of
	// Firecracker, and the default.
	ZerosWritten ZeroMeaning = iota
	// ZerosInherit: a block of zeros means "as in the parent", as in wrenn's own package. The guest
	// gets back memory that it had cleared. Only to reproduce what wrenn made of its files.
	ZerosInherit
)

// DiffZeros is the meaning that ProcessMemfileWithParent uses. A program that sets it does so before
// the first call. It begins as ZerosWritten, or as ZerosInherit in a program that is built with the
// tag wrenn_zeros_inherit. It is not read from the environment, so that nothing outside of the program
// can change the meaning of its files.
var DiffZeros = defaultDiffZeros
