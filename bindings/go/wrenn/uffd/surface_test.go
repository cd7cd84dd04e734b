package uffd

import (
	"context"

	"lamina/go/wrenn/snapshot"
)

// What the callers of wrenn's package use must have exactly these types.
var (
	_ func(string, MemorySource) *Server                                   = NewServer
	_ func(*Server, context.Context) error                                 = (*Server).Start
	_ func(*Server) <-chan struct{}                                        = (*Server).Ready
	_ func(*Server) error                                                  = (*Server).Stop
	_ func(*Server) error                                                  = (*Server).Wait
	_ func(*Server)                                                        = (*Server).Prefetch
	_ func(*snapshot.Header, map[string]string) (*DiffFileSource, error)   = NewDiffFileSource
	_ func(*DiffFileSource, context.Context, int64, int64) ([]byte, error) = (*DiffFileSource).ReadPage
	_ func(*DiffFileSource) error                                          = (*DiffFileSource).Close
	_ func([]Region) *Mapping                                              = NewMapping
	_ func(*Mapping, uintptr) (int64, uintptr, error)                      = (*Mapping).GetOffset
	_ MemorySource                                                         = (*DiffFileSource)(nil)
	_                                                                      = Region{BaseHostVirtAddr: uintptr(0), Size: uintptr(0), Offset: uintptr(0), PageSize: uintptr(0)}
	_                                                                      = Mapping{Regions: []Region(nil)}
)
