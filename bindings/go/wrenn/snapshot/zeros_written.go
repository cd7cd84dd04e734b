//go:build !wrenn_zeros_inherit

package snapshot

const defaultDiffZeros = ZerosWritten
