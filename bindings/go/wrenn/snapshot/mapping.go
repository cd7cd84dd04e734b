package snapshot

import "github.com/google/uuid"

// DefaultBlockSize is the block of wrenn's headers: a page of guest memory.
const DefaultBlockSize int64 = 4096

// BuildMap is one record of a header: guest memory [Offset, Offset+Length) is at BuildStorageOffset
// of the build's diff file. With the nil build id it is zeros, and the storage offset means nothing.
type BuildMap struct {
	Offset, Length     uint64
	BuildID            uuid.UUID
	BuildStorageOffset uint64
}

func (m *BuildMap) end() uint64 { return m.Offset + m.Length }

// part is [from, to) of a record. REQUIRES: inside it.
func (m *BuildMap) part(from, to uint64) *BuildMap {
	cut := &BuildMap{Offset: from, Length: to - from, BuildID: m.BuildID}
	if m.BuildID != uuid.Nil {
		cut.BuildStorageOffset = m.BuildStorageOffset + (from - m.Offset)
	}
	return cut
}

// TotalBlocks is the number of blocks that size bytes take.
func TotalBlocks(size, blockSize int64) int64 { return (size + blockSize - 1) / blockSize }

// BlockIdx is the block that an offset is in.
func BlockIdx(offset, blockSize int64) int64 { return offset / blockSize }

// BlockOffset is the offset of a block.
func BlockOffset(idx, blockSize int64) int64 { return idx * blockSize }

// CreateMapping returns the runs of dirty blocks, whose storage is packed from 0 on.
func CreateMapping(buildID uuid.UUID, dirty []bool, blockSize int64) []*BuildMap {
	var runs []*BuildMap
	var storage uint64
	size := uint64(blockSize)
	for i := range dirty {
		if !dirty[i] {
			continue
		}
		if i > 0 && dirty[i-1] {
			runs[len(runs)-1].Length += size
		} else {
			runs = append(runs, &BuildMap{Offset: uint64(i) * size, Length: size, BuildID: buildID})
			if buildID != uuid.Nil {
				runs[len(runs)-1].BuildStorageOffset = storage
			}
		}
		storage += size
	}
	return runs
}

// MergeMappings lays diff over base. Both are sorted and without overlaps; neither is changed. With
// an empty diff the result is base itself.
func MergeMappings(base, diff []*BuildMap) []*BuildMap {
	if len(diff) == 0 {
		return base
	}
	merged := make([]*BuildMap, 0, len(base)+2*len(diff))
	next := 0 // the first record of diff that does not end before the base record
	for _, b := range base {
		from := b.Offset
		// Records of diff that end before this one begins were emitted, or lie in a gap of base.
		for next < len(diff) && diff[next].end() <= from {
			merged = appendOnce(merged, diff[next])
			next++
		}
		for i := next; i < len(diff) && diff[i].Offset < b.end() && from < b.end(); i++ {
			if diff[i].Offset > from {
				merged = append(merged, b.part(from, diff[i].Offset))
			}
			merged = appendOnce(merged, diff[i])
			if from < diff[i].end() {
				from = diff[i].end()
			}
			if diff[i].end() <= b.end() {
				next = i + 1
			}
		}
		if from < b.end() {
			merged = append(merged, b.part(from, b.end()))
		}
	}
	for ; next < len(diff); next++ {
		merged = appendOnce(merged, diff[next])
	}
	return merged
}

// appendOnce appends a copy of a record of diff, unless it is the last one already: a record of diff
// can lie over several records of base.
func appendOnce(list []*BuildMap, record *BuildMap) []*BuildMap {
	if n := len(list); n > 0 && *list[n-1] == *record {
		return list
	}
	copied := *record
	return append(list, &copied)
}

// NormalizeMappings joins neighbours of one build that are adjacent in the guest and, but for zeros,
// in the storage. It changes nothing that it is given. nil stays nil.
func NormalizeMappings(mappings []*BuildMap) []*BuildMap {
	if len(mappings) == 0 {
		return nil
	}
	joined := make([]*BuildMap, 0, len(mappings))
	for _, m := range mappings {
		if n := len(joined); n > 0 && joined[n-1].continues(m) {
			joined[n-1].Length += m.Length
			continue
		}
		joined = append(joined, m.part(m.Offset, m.end()))
	}
	return joined
}

// continues is true if next follows m in the guest, and in the storage of the same build.
func (m *BuildMap) continues(next *BuildMap) bool {
	return m.BuildID == next.BuildID && m.end() == next.Offset &&
		(m.BuildID == uuid.Nil || m.BuildStorageOffset+m.Length == next.BuildStorageOffset)
}
