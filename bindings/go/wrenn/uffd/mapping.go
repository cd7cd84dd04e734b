package uffd

import (
	"encoding/json"
	"errors"
	"fmt"
	"sort"
)

const (
	smallPage = 4096
	hugePage  = 2 << 20

	maxRegions = 64
	// maxMemory bounds the regions of a source that does not say its size.
	maxMemory = 1 << 40
)

// Region is a part of the guest's memory in the VMM's process, as Firecracker's handshake has it.
type Region struct {
	BaseHostVirtAddr uintptr `json:"base_host_virt_addr"`
	Size             uintptr `json:"size"`
	// Offset is the region's place in the guest's memory.
	Offset uintptr `json:"offset"`
	// PageSize is in bytes, whatever the name in the handshake says.
	PageSize uintptr `json:"page_size_kib"`
}

func (r *Region) contains(address uintptr) bool {
	return address >= r.BaseHostVirtAddr && address-r.BaseHostVirtAddr < r.Size
}

// Mapping finds the place in the guest's memory of an address in the VMM's process.
type Mapping struct {
	Regions []Region
}

// NewMapping returns a mapping of these regions.
func NewMapping(regions []Region) *Mapping { return &Mapping{Regions: regions} }

// GetOffset returns the offset in the guest's memory of an address in the VMM's process, and the page
// size of its region.
func (m *Mapping) GetOffset(address uintptr) (int64, uintptr, error) {
	r := m.find(address)
	if r == nil {
		return 0, 0, fmt.Errorf("address %#x is in no region of the VM", address)
	}
	return int64(r.Offset + (address - r.BaseHostVirtAddr)), r.PageSize, nil
}

func (m *Mapping) find(address uintptr) *Region {
	for i := range m.Regions {
		if m.Regions[i].contains(address) {
			return &m.Regions[i]
		}
	}
	return nil
}

// parseRegions decodes and checks the text of a handshake. The memory has at most limit bytes.
func parseRegions(text []byte, limit int64) ([]Region, error) {
	var list []struct {
		Region
		PageBytes *uintptr `json:"page_size"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("it is not a list of regions: %w", err)
	}
	if len(list) == 0 || len(list) > maxRegions {
		return nil, fmt.Errorf("it has %d regions; 1 to %d are supported", len(list), maxRegions)
	}
	regions := make([]Region, len(list))
	for i, entry := range list {
		regions[i] = entry.Region
		if entry.PageBytes != nil {
			regions[i].PageSize = *entry.PageBytes
		}
		if err := regions[i].check(limit); err != nil {
			return nil, fmt.Errorf("region %d: %w", i, err)
		}
	}
	return regions, checkApart(regions)
}

func (r *Region) check(limit int64) error {
	page := r.PageSize
	if page == hugePage { // the last page may reach past the memory's end
		limit = (limit + hugePage - 1) / hugePage * hugePage
	} else {
		limit = (limit + smallPage - 1) / smallPage * smallPage
	}
	switch {
	case page != smallPage && page != hugePage:
		return fmt.Errorf("pages of %d bytes; %d and %d are supported", page, smallPage, hugePage)
	case r.Size == 0 || r.Size%page != 0 || r.BaseHostVirtAddr%page != 0 || r.Offset%page != 0:
		return fmt.Errorf("[%#x, +%#x) at offset %#x does not consist of pages of %d bytes", r.BaseHostVirtAddr, r.Size, r.Offset, page)
	case r.BaseHostVirtAddr+r.Size < r.BaseHostVirtAddr:
		return fmt.Errorf("size %#x is too large", r.Size)
	case uint64(r.Offset) > uint64(limit) || uint64(r.Size) > uint64(limit)-uint64(r.Offset):
		return fmt.Errorf("offset %#x and size %#x exceed the memory of %#x bytes", r.Offset, r.Size, limit)
	}
	return nil
}

// checkApart checks that regions share neither addresses nor memory.
func checkApart(regions []Region) error {
	for _, key := range []func(r Region) uintptr{
		func(r Region) uintptr { return r.BaseHostVirtAddr },
		func(r Region) uintptr { return r.Offset },
	} {
		sorted := append([]Region(nil), regions...)
		sort.Slice(sorted, func(i, k int) bool { return key(sorted[i]) < key(sorted[k]) })
		for i := 1; i < len(sorted); i++ {
			if key(sorted[i])-key(sorted[i-1]) < sorted[i-1].Size {
				return errors.New("regions overlap")
			}
		}
	}
	return nil
}
