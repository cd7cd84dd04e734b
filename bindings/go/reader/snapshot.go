package reader

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/google/uuid"

	"lamina/go/internal/xxh3"
)

const (
	headerName      = "memfile.header"
	factsName       = "snapshot.json"
	vmstateName     = "snapfile"
	legacyLayerName = "memfile"
	layerPrefix     = "memfile."

	maxHeaderBytes  = 2 << 30
	maxFactsBytes   = 16 << 20
	maxVMStateBytes = 256 << 20

	// openAttempts is how often a snapshot is opened again if it is replaced meanwhile.
	openAttempts = 20
)

// LayerInfo describes a layer of an open snapshot.
type LayerInfo struct {
	BuildID uuid.UUID
	// Path is where the layer was opened. It may name another file by now, or none.
	Path string
	// DataBytes is the length of the data.
	DataBytes int64
	// HasChecksums is false for a layer of wrenn: its blocks are read unchecked.
	HasChecksums bool
}

// Snapshot is an open snapshot. It implements io.ReaderAt over the guest's memory. Immutable, and
// safe for concurrent use.
type Snapshot struct {
	path   string
	header *Header
	facts  *Facts
	layers []*Layer
	// vmstate is nil if there is none.
	vmstate *os.File
}

// Open opens the snapshot directory at path (STORE/NAME) and checks it: see the package's
// documentation. If the directory is replaced meanwhile, the new one is opened. fs.ErrNotExist: the
// directory, its header or a layer is missing.
func Open(path string) (*Snapshot, error) {
	for attempt := 1; ; attempt++ {
		// Not a FIFO, whose opening would wait.
		directory, err := os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY, 0)
		if errors.Is(err, syscall.ENOTDIR) {
			return nil, inFile(usage("it is not a directory; a snapshot is the directory that holds %s and the layers", headerName), path, "")
		}
		if err != nil {
			return nil, systemError(path, err)
		}
		snapshot, err := openIn(directory, path)
		retry := attempt < openAttempts && errors.Is(err, fs.ErrNotExist) && isReplaced(directory, path)
		directory.Close()
		if !retry {
			return snapshot, err
		}
	}
}

// isReplaced is true if path names another directory than the open one, and there is one.
func isReplaced(directory *os.File, path string) bool {
	opened, err := directory.Stat()
	if err != nil {
		return false
	}
	now, err := os.Stat(path)
	return err == nil && !os.SameFile(opened, now)
}

func openIn(directory *os.File, path string) (*Snapshot, error) {
	s := &Snapshot{path: path}
	if err := s.open(directory); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// remedyFor says what can be done about an error of the header or of snapshot.json, which can be made
// again from the layers.
func (s *Snapshot) remedyFor(err error) string {
	switch {
	case errors.Is(err, ErrUnsupported):
		return "read it with a newer version of lamina"
	case errors.Is(err, ErrCorrupt):
		return "run: lamina repair " + s.path
	case errors.Is(err, fs.ErrNotExist):
		return "if '" + s.path + "' is a snapshot, run: lamina repair " + s.path
	}
	return ""
}

func (s *Snapshot) open(directory *os.File) error {
	headerPath := filepath.Join(s.path, headerName)
	headerBytes, err := readFile(directory, headerName, headerPath, maxHeaderBytes)
	if err != nil {
		return inFile(err, headerPath, s.remedyFor(err))
	}
	if s.header, err = DecodeHeader(headerBytes); err != nil {
		return inFile(err, headerPath, s.remedyFor(err))
	}
	factsPath := filepath.Join(s.path, factsName)
	factsBytes, err := readFile(directory, factsName, factsPath, maxFactsBytes)
	switch {
	case err == nil:
		if s.facts, err = decodeFacts(factsBytes); err == nil {
			err = s.compareFacts(headerBytes)
		}
		if err != nil {
			return inFile(err, factsPath, s.remedyFor(err))
		}
	case !errors.Is(err, fs.ErrNotExist):
		return inFile(err, factsPath, "")
	}
	if err := s.openLayers(directory); err != nil {
		return err
	}
	vmstate, _, err := openRegular(directory, vmstateName, filepath.Join(s.path, vmstateName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.vmstate = vmstate
	return nil
}

// compareFacts compares snapshot.json with the header.
func (s *Snapshot) compareFacts(headerBytes []byte) error {
	h, f := s.header, s.facts
	if h.BuildID != f.BuildID || h.MemoryBytes != f.MemoryBytes || (h.Format == FormatNative && h.PauseID != f.PauseID) {
		return corrupt(NoOffset, "it and %s describe different snapshots", headerName)
	}
	if h.Format != FormatNative && (f.HeaderDigest.Bytes != uint64(len(headerBytes)) || f.HeaderDigest.Digest != xxh3.Sum128(headerBytes)) {
		return corrupt(NoOffset, "%s does not match its digest here", headerName)
	}
	return nil
}

func (s *Snapshot) openLayers(directory *os.File) error {
	h := s.header
	for _, entry := range h.Layers {
		name := layerPrefix + entry.BuildID.String()
		hasTrailer, dataBytes := entry.HasChecksums, entry.DataBytes
		if h.Format != FormatNative {
			hasTrailer, dataBytes = s.facts != nil && s.facts.hasChecksums[entry.BuildID], -1
		}
		layer, err := openLayer(directory, name, filepath.Join(s.path, name))
		if errors.Is(err, fs.ErrNotExist) && len(h.Layers) == 1 && h.Format != FormatNative {
			layer, err = openLayer(directory, legacyLayerName, filepath.Join(s.path, legacyLayerName))
			if errors.Is(err, fs.ErrNotExist) {
				err = &Error{Path: filepath.Join(s.path, name), Offset: NoOffset, Message: "the layer is missing, and so is " + legacyLayerName, Err: fs.ErrNotExist}
			}
		}
		if err != nil {
			return err
		}
		s.layers = append(s.layers, layer)
		if err := layer.expectBuild(entry.BuildID, h.MemoryBytes, hasTrailer, dataBytes); err != nil {
			return inFile(err, layer.path, remedyOfDamage)
		}
	}
	for i, r := range h.mapping.runs {
		if r.layer == 0 {
			continue
		}
		layer := s.layers[r.layer-1]
		if err := layer.checkExtent(r.start, h.mapping.end(i)-r.start, r.storage); err != nil {
			return inFile(err, layer.path, remedyOfDamage)
		}
	}
	return nil
}

// readFile reads a whole file of the directory.
func readFile(directory *os.File, name, path string, limit int64) ([]byte, error) {
	file, size, err := openRegular(directory, name, path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readWhole(file, size, limit)
}

// Path is the path that the snapshot was opened by.
func (s *Snapshot) Path() string { return s.path }

// Header returns the header. Do not change it.
func (s *Snapshot) Header() *Header { return s.header }

// Facts returns what snapshot.json says, or nil: directories that wrenn wrote have none. Do not
// change it.
func (s *Snapshot) Facts() *Facts { return s.facts }

// PauseID is the guest state that was captured: of the header, else of snapshot.json, else the build
// id.
func (s *Snapshot) PauseID() uuid.UUID {
	switch {
	case s.header.PauseID != uuid.Nil:
		return s.header.PauseID
	case s.facts != nil:
		return s.facts.PauseID
	}
	return s.header.BuildID
}

// Size is the size of the guest's memory in bytes.
func (s *Snapshot) Size() int64 { return s.header.MemoryBytes }

// NumLayers is the number of layers.
func (s *Snapshot) NumLayers() int { return len(s.layers) }

// Layer describes layer i, in the order of Header.Layers. REQUIRES: 0 <= i < NumLayers().
func (s *Snapshot) Layer(i int) LayerInfo {
	layer := s.layers[i]
	return LayerInfo{s.header.Layers[i].BuildID, layer.path, layer.DataBytes(), layer.trailer != nil}
}

// Extents returns the extents of [offset, offset+length) in guest order, cut at both ends to whole
// blocks: where the data is, and what is zeros. ErrUsage: the range is not inside the memory.
func (s *Snapshot) Extents(offset, length int64) ([]Extent, error) {
	if offset < 0 || length < 0 || offset > s.Size() || length > s.Size()-offset {
		return nil, usage("[%#x, %#x) is outside the memory of %#x bytes", offset, offset+length, s.Size())
	}
	if length == 0 {
		return nil, nil
	}
	m := s.header.mapping
	start := offset / BlockSize * BlockSize
	end := int64(blocksFor(uint64(offset+length))) * BlockSize
	var extents []Extent
	for i := m.find(uint32(start / BlockSize)); i < len(m.runs); i++ {
		e := m.extent(i)
		if e.Offset >= end {
			break
		}
		if cut := start - e.Offset; cut > 0 {
			e.Offset += cut
			e.Length -= cut
			if e.Layer != Zeros {
				e.StorageOffset += cut
			}
		}
		if e.End() > end {
			e.Length = end - e.Offset
		}
		extents = append(extents, e)
	}
	return extents, nil
}

// ReadAt reads the guest's memory at [off, off+len(p)). Every block that the range touches is read
// whole and compared with its checksum, if its layer has any. As io.ReaderAt demands it, fewer bytes
// than len(p) come with an error: io.EOF at the memory's end, ErrCorrupt for a block that is wrong or
// missing, with the layer's path and the offset in it. The first n bytes of p are right, also then;
// the others are undefined.
func (s *Snapshot) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, usage("offset %d is negative", off)
	}
	if len(p) == 0 {
		return 0, nil
	}
	short := false
	if off >= s.Size() || int64(len(p)) > s.Size()-off {
		short = true
		p = p[:max64(0, s.Size()-off)]
	}
	n, err := readBlocks(p, off, s.readWhole)
	if err == nil && short {
		err = io.EOF
	}
	return n, err
}

// readWhole reads whole guest blocks.
func (s *Snapshot) readWhole(block uint32, buffer []byte) (int, error) {
	m := s.header.mapping
	done := 0
	for i := m.find(block); done < len(buffer); i++ {
		r, end := m.runs[i], m.end(i)
		length := int64(end-block) * BlockSize
		if left := int64(len(buffer) - done); length > left {
			length = left
		}
		part := buffer[done : done+int(length)]
		if r.layer == 0 {
			for k := range part {
				part[k] = 0
			}
		} else if n, err := s.layers[r.layer-1].readChecked(r.storage+(block-r.start), part); err != nil {
			return done + n, err
		}
		done += len(part)
		block = end
	}
	return done, nil
}

// ReadVMState returns the VM's state, the file snapfile, after a comparison with its digest if the
// snapshot has one (directories of wrenn have none). fs.ErrNotExist: there is no VM state.
func (s *Snapshot) ReadVMState() ([]byte, error) {
	path := filepath.Join(s.path, vmstateName)
	if s.vmstate == nil {
		return nil, &Error{Path: path, Offset: NoOffset, Message: "the snapshot has no VM state", Err: fs.ErrNotExist}
	}
	info, err := s.vmstate.Stat()
	if err != nil {
		return nil, systemError(path, err)
	}
	if info.Size() > maxVMStateBytes {
		return nil, inFile(corrupt(NoOffset, "it has %d bytes; at most %d are supported", info.Size(), maxVMStateBytes), path, "")
	}
	data, err := readRange(s.vmstate, 0, info.Size())
	if err != nil {
		return nil, inFile(err, path, "")
	}
	digest := s.header.VMState
	if digest == nil && s.facts != nil {
		digest = s.facts.VMState
	}
	if digest != nil && (digest.Bytes != uint64(len(data)) || digest.Digest != xxh3.Sum128(data)) {
		return nil, inFile(corrupt(NoOffset, "it does not match its digest"), path, remedyOfDamage)
	}
	return data, nil
}

// Close closes all files. Reads that follow fail with os.ErrClosed.
func (s *Snapshot) Close() error {
	var first error
	for _, layer := range s.layers {
		if err := layer.Close(); err != nil && first == nil {
			first = err
		}
	}
	if s.vmstate != nil {
		if err := s.vmstate.Close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}
