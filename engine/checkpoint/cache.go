package checkpoint

import (
	"sync"
	"sync/atomic"
)

// Measured with 21 million keys, a week of a large tenant: the filters take
// 21 MB of the cache; where they do not fit, each look-up reads one from the disk. The rest of it
// serves the keys that repeat.
const (
	cacheSize  = 28 << 20 // at most
	cacheLeast = 4 << 20
	// storedPerCache is what is stored for each byte of the cache: a key takes some 24 bytes, and one of the filter.
	storedPerCache = 16
	// keysPerSize is how many keys may come until the cache is sized again.
	keysPerSize = 1 << 18
)

// cacheRoom keeps the cache as large as what is stored asks for. It would else be filled, in time, with blocks that were read once:
// by a sweep, or for a new key that the filters take for one that is known.
type cacheRoom struct {
	keys atomic.Int64 // that came since

	mu      sync.Mutex
	release func() // of what the cache may not use; nil: it may use all
}

// sizeCache sizes the cache anew.
func (s *Embedded) sizeCache() {
	stored, err := s.db.EstimateDiskUsage([]byte{keySpace}, []byte{keySpace + 1})
	if err != nil {
		return // it stays as it is; who reads there tells what is wrong
	}
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	if s.room.release != nil {
		s.room.release()
	}
	s.room.release = s.cache.Reserve(max(0, cacheSize-cacheLeast-int(stored/storedPerCache)))
}

// came notes new keys.
func (s *Embedded) came(keys uint32) {
	if s.room.keys.Add(int64(keys)) >= keysPerSize {
		s.room.keys.Store(0)
		s.sizeCache()
	}
}
