// Package uffd replaces the package of the same name of the wrenn sandbox platform (version 0.1.5): it
// serves the page faults of a VM that Firecracker resumes with its memory back end "Uffd". It is pure
// Go, so callers compile with CGO_ENABLED=0.
//
//	source, err := uffd.NewDiffFileSource(header, files)
//	server := uffd.NewServer("/run/vm.sock", source)
//	err = server.Start(ctx)          // listens, returns at once
//	… PUT /snapshot/load with "mem_backend": {"backend_type": "Uffd", "backend_path": "/run/vm.sock"}
//	<-server.Ready()
//	server.Prefetch()
//	err = server.Wait()
//
// # Differences from wrenn's package
//
//   - A page that cannot be read, or comes in the wrong length, is tried three times. Then the VM's
//     process is killed and Wait returns the reason. wrenn logged it, and the guest hung.
//   - The balloon may give memory back while the VM runs; those pages are zeros from then on. wrenn
//     ended at such an event.
//   - A page of 2 MiB is put together from all records of the header that it touches.
//   - Only root and the user of this process may connect (the socket has mode 0600). Others are
//     disconnected.
//   - The handshake may have 64 KiB, and is checked: regions of whole pages that neither overlap nor
//     leave the snapshot.
//   - One goroutine answers faults, and reads and fills without a thread for each.
//   - Prefetch fills the data only. Zeros are filled when the guest touches them.
//
// Diffs of wrenn have no checksums, so a changed byte on the disk is served. NewReaderSource serves a
// snapshot of lamina with checksums, by package reader. For many VMs on a host, and for VMs that must
// outlive the process that serves them, use lamina's page server instead (lamina serve).
//
// # Concurrency
//
// All methods may be called by several goroutines at once.
package uffd
