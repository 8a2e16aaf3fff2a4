//go:build !windows

package fleet

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// lock locks a file against other processes, and other opens in this one. The lock ends with the process.
func lock(path string) (unlock func() error, err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEngine, err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = ErrStoreInUse
		}
		return nil, errors.Join(err, file.Close())
	}
	return file.Close, nil
}
