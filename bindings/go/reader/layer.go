package reader

import (
	"errors"
	"io"
	"os"
	"sync"

	"github.com/google/uuid"

	"lamina/go/internal/xxh3"
)

// maxUncheckedBytes of a trailer are read before it is known to be free of holes.
const maxUncheckedBytes = 1 << 20

// blocks are buffers for blocks that a caller wants only a part of.
var blocks = sync.Pool{New: func() interface{} { return new([BlockSize]byte) }}

// Layer is an open layer file. Immutable, and safe for concurrent use.
type Layer struct {
	file       *os.File
	path       string
	fileBytes  int64
	dataBlocks uint64
	trailer    *Trailer
}

// OpenLayer opens a layer file and checks its trailer, if it has one. The caller closes the layer.
func OpenLayer(path string) (*Layer, error) {
	return openLayer(nil, path, path)
}

func openLayer(directory *os.File, name, path string) (*Layer, error) {
	file, size, err := openRegular(directory, name, path)
	if err != nil {
		return nil, err
	}
	layer := &Layer{file: file, path: path, fileBytes: size}
	if layer.trailer, err = readTrailer(file, size); err != nil {
		file.Close()
		return nil, inFile(err, path, "")
	}
	layer.dataBlocks = blocksFor(uint64(size))
	if layer.trailer != nil {
		layer.dataBlocks = uint64(layer.trailer.DataBytes) / BlockSize
	}
	if layer.dataBlocks > maxBlocks {
		file.Close()
		return nil, inFile(corrupt(NoOffset, "the layer has %d bytes; at most %d are supported", size, int64(maxBlocks)*BlockSize), path, "")
	}
	return layer, nil
}

// readTrailer returns nil if the file has none.
func readTrailer(file *os.File, size int64) (*Trailer, error) {
	if size < footerBytes {
		return nil, nil
	}
	end, err := readRange(file, size-footerBytes, footerBytes)
	if err != nil {
		return nil, err
	}
	f, err := decodeFooter(end, uint64(size))
	if f == nil {
		var known *Error
		if errors.As(err, &known) && known.Offset == NoOffset {
			known.Offset = size - footerBytes
		}
		return nil, err
	}
	start, length := size-int64(f.trailerBytes), int64(f.trailerBytes)
	if length > maxUncheckedBytes {
		stored, err := isStored(file, start, size)
		if err != nil {
			return nil, err
		}
		if !stored {
			return nil, corrupt(start, "the trailer of %d bytes has a hole", length)
		}
	}
	data, err := readRange(file, start, length)
	if err != nil {
		return nil, err
	}
	return f.decode(data)
}

// Path is the path that the layer was opened by, for messages.
func (l *Layer) Path() string { return l.path }

// Trailer returns the trailer, or nil for a layer of wrenn, whose blocks have no checksums.
func (l *Layer) Trailer() *Trailer { return l.trailer }

// DataBytes is the length of the layer's data, rounded up to a block.
func (l *Layer) DataBytes() int64 { return int64(l.dataBlocks) * BlockSize }

// Close closes the file.
func (l *Layer) Close() error { return l.file.Close() }

// ReadAt reads the layer's data (not guest memory) at [off, off+len(p)), and compares each block
// that the range touches with its checksum. Blocks that the trailer of an adopted layer does not list
// (holes, and blocks equal to the parent's) have no checksum, and reading them is ErrUsage.
func (l *Layer) ReadAt(p []byte, off int64) (int, error) {
	size := l.DataBytes()
	if off < 0 {
		return 0, inFile(usage("offset %d is negative", off), l.path, "")
	}
	if len(p) == 0 {
		return 0, nil
	}
	short := false
	if off >= size || int64(len(p)) > size-off {
		short = true
		p = p[:max64(0, size-off)]
	}
	n, err := readBlocks(p, off, func(block uint32, whole []byte) (int, error) {
		return l.readChecked(block, whole)
	})
	if err == nil && short {
		err = io.EOF
	}
	return n, err
}

func max64(a, b int64) int64 {
	if a > b {
		return a
	}
	return b
}

// checkExtent checks that an extent of a header lies inside this layer: inside an extent of the
// trailer with the same guest offset for the same storage offset or, without a trailer, inside the
// data.
func (l *Layer) checkExtent(guest, count, storage uint32) error {
	at := int64(storage) * BlockSize
	if end := uint64(storage) + uint64(count); end > l.dataBlocks {
		return corrupt(at, "the header's extent at guest offset %#x ends at %#x of the layer, past its data's end %#x", int64(guest)*BlockSize, end*BlockSize, l.dataBlocks*BlockSize)
	}
	if l.trailer == nil {
		return nil
	}
	s := l.trailer.findStored(guest)
	if s == nil || count > s.count-(guest-s.first) || storage-guest != s.storage-s.first {
		return corrupt(at, "the header's extent at guest offset %#x of %d blocks does not match the layer's trailer", int64(guest)*BlockSize, count)
	}
	return nil
}

// readChecked reads whole blocks of the data from block on. It returns the number of bytes that are
// right.
func (l *Layer) readChecked(block uint32, buffer []byte) (int, error) {
	at := int64(block) * BlockSize
	n, err := l.file.ReadAt(buffer, at)
	if n < len(buffer) {
		if err != nil && !errors.Is(err, io.EOF) {
			return n / BlockSize * BlockSize, inFile(systemError(l.path, err), l.path, "")
		}
		// Only the last block of a layer of wrenn may be short.
		if l.trailer != nil || at+int64(n) != l.fileBytes || len(buffer)-n >= BlockSize {
			return n / BlockSize * BlockSize, inFile(corrupt(at+int64(n), "the layer ends here, before %#x: it is truncated", at+int64(len(buffer))), l.path, remedyOfDamage)
		}
		for i := range buffer[n:] {
			buffer[n+i] = 0
		}
	}
	if l.trailer == nil {
		return len(buffer), nil
	}
	return l.verify(block, buffer)
}

const remedyOfDamage = "run lamina verify on the snapshot, and use another copy of it"

// verify compares the blocks in buffer with their checksums.
func (l *Layer) verify(block uint32, buffer []byte) (int, error) {
	var s *storedRun
	for done := 0; done < len(buffer); done += BlockSize {
		place := block + uint32(done/BlockSize)
		if s == nil || place-s.storage >= s.count {
			if s = l.trailer.findStorage(place); s == nil {
				return done, inFile(&Error{Offset: int64(place) * BlockSize, Message: "the trailer does not list this block, so it has no checksum", Err: ErrUsage}, l.path, "")
			}
		}
		inRun := place - s.storage
		if xxh3.Sum64(buffer[done:done+BlockSize]) != l.trailer.checksums[s.index+inRun] {
			return done, inFile(corrupt(int64(place)*BlockSize, "the block (guest offset %#x) does not match its checksum", int64(s.first+inRun)*BlockSize), l.path, remedyOfDamage)
		}
	}
	return len(buffer), nil
}

// readBlocks reads [off, off+len(p)) by whole blocks: read gets a block number and a buffer of whole
// blocks, and returns the number of bytes that are right. Blocks that p takes whole are read into it
// directly, the others into a buffer of their own.
func readBlocks(p []byte, off int64, read func(block uint32, whole []byte) (int, error)) (int, error) {
	done := 0
	for done < len(p) {
		at := off + int64(done)
		inBlock := int(at % BlockSize)
		if whole := (len(p) - done) / BlockSize * BlockSize; inBlock == 0 && whole > 0 {
			n, err := read(uint32(at/BlockSize), p[done:done+whole])
			done += n
			if err != nil {
				return done, err
			}
			continue
		}
		n, err := readPart(p[done:], at, inBlock, read)
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// readPart reads from inside a block, or less than a block: at most to the end of that block.
func readPart(p []byte, at int64, inBlock int, read func(block uint32, whole []byte) (int, error)) (int, error) {
	block := blocks.Get().(*[BlockSize]byte)
	defer blocks.Put(block)
	whole := block[:]
	if _, err := read(uint32(at/BlockSize), whole); err != nil {
		return 0, err
	}
	return copy(p, whole[inBlock:]), nil
}

// expectBuild checks that the layer is the one that a header means.
func (l *Layer) expectBuild(id uuid.UUID, memoryBytes int64, hasTrailer bool, dataBytes int64) error {
	switch {
	case l.trailer == nil && hasTrailer:
		return corrupt(l.fileBytes, "the layer has no trailer, but was written with one: it is truncated or altered")
	case l.trailer != nil && l.trailer.BuildID != id:
		return corrupt(NoOffset, "the layer holds build %s, not %s", l.trailer.BuildID, id)
	case dataBytes >= 0 && dataBytes != l.DataBytes():
		return corrupt(NoOffset, "the layer has %d bytes of data, but the header says %d: it was truncated or replaced", l.DataBytes(), dataBytes)
	case l.trailer != nil && l.trailer.MemoryBytes != memoryBytes:
		return corrupt(NoOffset, "the layer is of %d bytes of memory, the header of %d", l.trailer.MemoryBytes, memoryBytes)
	}
	return nil
}
