// Package snapshot replaces the package of the same name of the wrenn sandbox platform (version
// 0.1.5): the same identifiers, signatures and files, without its defects. Callers compile unchanged,
// also with CGO_ENABLED=0.
//
// The package needs the standard library and github.com/google/uuid only. A program uses it either
// as lamina/go/wrenn/snapshot, or with the files of this directory in the place of its own package.
//
// # Differences from wrenn's package
//
// What meant lost or wrong memory is right here, or an error:
//
//   - A block of zeros that a diff contains is zeros. wrenn left the parent's data there, so memory
//     that the guest had cleared came back. A hole of a diff means "as in the parent", as before.
//     See DiffZeros.
//   - So holes must be exact: ProcessMemfileWithParent tests the file system of the memory file, and
//     fails where unwritten pages count as written. The file must be the one that the VMM wrote, not
//     a copy: most tools that copy files change holes.
//   - Neighbours of one build are joined only if they are adjacent in the storage too.
//   - Files are written under another name, synced, and renamed. So after an error or a crash a
//     file is the old one or the new one. The header is replaced last, and only if all has worked; it
//     may be the file that the parent's header came from.
//   - A header is checked by NewHeader and Deserialize: versions 1 and 3, block sizes from 4 KiB to
//     2 MiB, records that cover the memory without gaps and overlaps. wrenn accepted anything but a
//     block size of 0, and then served the wrong bytes.
//   - ProcessMemfileWithParent refuses a memory file of another size than the parent's memory, and a
//     build id that is nil or that the parent has already. ProcessMemfile refuses an empty file and a
//     nil build id.
//   - A diff over a parent with blocks larger than 4 KiB gets a header with blocks of 4 KiB.
//   - An output that is one of the inputs (but the header) is refused; wrenn truncated it first. So is
//     a diff under the name of a file that the parent needs, and one name for diff and header.
//   - MergeDiffs opens only the files that the header refers to.
//   - Holes are not read, and memory is read in large pieces.
//   - GetShiftedMapping returns a pointer to a copy of the build id. Of zeros, the offset and the
//     storage offset in a record are 0 (in wrenn: any number, which means nothing).
//
// # Concurrency
//
// A Header is not changed by this package once it is made. Its methods, and functions that read it,
// may be called by several goroutines at once, as long as no caller changes it.
package snapshot
