// Package reader reads snapshots of lamina in pure Go: headers (native, and versions 1 and 3 of
// wrenn's snapshot package), the trailers of layers, layers, and whole snapshot directories. It
// needs neither cgo nor a lamina program. docs/format.md of lamina describes the files.
//
//	snapshot, err := reader.Open("store/web-1")
//	if err != nil { … }
//	defer snapshot.Close()
//	_, err = snapshot.ReadAt(page, offset) // the guest's memory
//
// # What is checked
//
// Open checks the header, snapshot.json if there is one, the trailer of each layer, and that each
// extent of the header lies inside an extent of its layer's trailer with the same guest offset for
// the same storage offset. A read compares every block of 4096 bytes that it touches with its
// checksum. Layers that wrenn wrote have no checksums: their blocks are read unchecked, and
// LayerInfo.HasChecksums says so. Checksums detect accidental damage; a user who can write to the
// store can forge them.
//
// # Concurrency
//
// All types are immutable once they are made. All methods may be called by several goroutines at
// once, Close too: a read that is running then ends, or fails with os.ErrClosed.
//
// # Lifetime
//
// A Snapshot is read by descriptor, one for each layer. If the snapshot of that name is merged,
// replaced or removed afterwards, the state that was opened is still read (and keeps the space of
// its files) until Close.
//
// # Untrusted input
//
// Files may contain anything: the decoders return an error for what they do not understand, do not
// panic, and allocate in proportion to the bytes that are present, never by a number that a file
// merely contains. A process that writes to a file while it is read can make reads fail, not more.
//
// # Errors
//
// Errors of this package are of type *Error, which names the object, the offset and the remedy.
// errors.Is tells the kinds apart: ErrCorrupt, ErrUnsupported, ErrUsage, and fs.ErrNotExist.
package reader
