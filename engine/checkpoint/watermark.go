package checkpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The engine under the store tolerates a log that ends early, because that is what a power
// cut leaves behind. It cannot tell that from a log that was cut short later, and
// would take an older state, or an empty one, for the current. The watermark closes the
// gap: a small file that says how far acknowledged commits went. It is written
// after what it speaks of is durable, and never synced: whatever a kill or a power cut leaves of
// it, it claims no more than the disk holds. State that falls short of it is damaged.

const (
	watermarkFile = "watermark"
	watermarkSize = 40
)

var watermarkMagic = [4]byte{'s', '6', 'w', '1'}

// watermark is what is known to be durable. Its zero value claims nothing.
type watermark struct {
	seq      uint64 // of the last acknowledged commit
	manifest uint64 // number of the manifest
	size     int64  // what of it is durable
	sum      uint32 // CRC-32 of that
}

func (w watermark) encode() []byte {
	b := make([]byte, 0, watermarkSize)
	b = append(b, watermarkMagic[:]...)
	b = binary.BigEndian.AppendUint64(b, w.seq)
	b = binary.BigEndian.AppendUint64(b, w.manifest)
	b = binary.BigEndian.AppendUint64(b, uint64(w.size))
	b = binary.BigEndian.AppendUint32(b, w.sum)
	b = binary.BigEndian.AppendUint32(b, 0) // spare
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

// decodeWatermark takes a file that was torn or overwritten for one that claims nothing:
// it is a witness, and without it the state is as good as it was.
func decodeWatermark(b []byte) watermark {
	const body = watermarkSize - 4
	if len(b) != watermarkSize || [4]byte(b) != watermarkMagic || crc32.ChecksumIEEE(b[:body]) != binary.BigEndian.Uint32(b[body:]) {
		return watermark{}
	}
	return watermark{
		seq:      binary.BigEndian.Uint64(b[4:]),
		manifest: binary.BigEndian.Uint64(b[12:]),
		size:     int64(binary.BigEndian.Uint64(b[20:])),
		sum:      binary.BigEndian.Uint32(b[28:]),
	}
}

// readWatermark reads the watermark of a state and holds its manifest against it.
func readWatermark(d *disk, dir string) (watermark, error) {
	b, err := readFile(d, d.PathJoin(dir, watermarkFile))
	if errors.Is(err, fs.ErrNotExist) {
		return watermark{}, nil
	}
	if err != nil {
		return watermark{}, err
	}
	w := decodeWatermark(b)
	if w.size == 0 {
		return w, nil
	}
	name := d.PathJoin(dir, fmt.Sprintf("MANIFEST-%06d", w.manifest))
	f, err := d.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return w, nil // the next one had taken its place
	}
	if err != nil {
		return w, err
	}
	defer f.Close()
	sum := crc32.NewIEEE()
	n, err := io.Copy(sum, io.LimitReader(f, w.size))
	if err != nil {
		return w, err
	}
	if n < w.size {
		return w, damagef("%s ends after %d bytes; %d were written", name, n, w.size)
	}
	if sum.Sum32() != w.sum {
		return w, damagef("%s is not as it was written", name)
	}
	return w, nil
}

// witness keeps the watermark of an open store.
type witness struct {
	mu   sync.Mutex
	file vfs.File // nil until the store is open
	mark watermark
}

// open begins to write to the state's file.
func (w *witness) open(d *disk, dir string) error {
	name := d.PathJoin(dir, watermarkFile)
	f, err := d.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.file = f
	return w.writeLocked()
}

// committed notes a commit that was acknowledged as durable.
func (w *witness) committed(seq uint64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if seq <= w.mark.seq {
		return nil
	}
	w.mark.seq = seq
	return w.writeLocked()
}

// manifest notes how much of a manifest is durable.
func (w *witness) manifest(name string, size int64, sum uint32) {
	var number uint64
	if _, err := fmt.Sscanf(name, "MANIFEST-%d", &number); err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mark.manifest, w.mark.size, w.mark.sum = number, size, sum
	// A failure leaves the older, smaller claim, and comes back with the next commit.
	_ = w.writeLocked()
}

func (w *witness) writeLocked() error {
	if w.file == nil {
		return nil
	}
	_, err := w.file.WriteAt(w.mark.encode(), 0)
	return err
}

func (w *witness) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file == nil {
		return nil
	}
	err := w.file.Close()
	w.file = nil
	return err
}
