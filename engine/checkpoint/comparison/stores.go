package main

import (
	"database/sql"
	"encoding/binary"
	"errors"
	"path/filepath"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"go.etcd.io/bbolt"
	_ "modernc.org/sqlite"
)

type checkpointStore struct{ s *checkpoint.Embedded }

func openCheckpoint(dir string) (store, error) {
	s, err := checkpoint.Open(dir, checkpoint.Options{})
	if err != nil {
		return nil, err
	}
	return checkpointStore{s}, nil
}

func (c checkpointStore) commit(keys [][16]byte, hour uint32) error {
	ks := make([]checkpoint.Key, len(keys))
	for i, k := range keys {
		ks[i] = k
	}
	return c.s.Commit(&checkpoint.Commit{Feed: "feed", Partition: "a", Position: &checkpoint.Position{},
		Keys: ks, Expires: time.Unix(int64(hour)*3600, 0)})
}

func (c checkpointStore) seen(key [16]byte) (bool, error) {
	_, ok, err := c.s.Seen(key)
	return ok, err
}

func (c checkpointStore) close() error { return c.s.Close() }

type bolt struct{ db *bbolt.DB }

var boltKeys = []byte("keys")

func openBolt(dir string) (store, error) {
	db, err := bbolt.Open(filepath.Join(dir, "state.db"), 0o600, &bbolt.Options{FreelistType: bbolt.FreelistMapType, NoFreelistSync: true})
	if err != nil {
		return nil, err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(boltKeys)
		return err
	})
	return bolt{db}, err
}

func (b bolt) commit(keys [][16]byte, hour uint32) error {
	return b.db.Update(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(boltKeys)
		v := binary.BigEndian.AppendUint32(nil, hour)
		for _, k := range keys {
			if err := bucket.Put(k[:], v); err != nil {
				return err
			}
		}
		return nil
	})
}

func (b bolt) seen(key [16]byte) (ok bool, err error) {
	err = b.db.View(func(tx *bbolt.Tx) error {
		ok = tx.Bucket(boltKeys).Get(key[:]) != nil
		return nil
	})
	return ok, err
}

func (b bolt) close() error { return b.db.Close() }

type sqlite struct {
	db          *sql.DB
	insert, get *sql.Stmt
}

func openSQLite(dir string) (store, error) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "state.db")+"?_pragma=journal_mode(wal)&_pragma=synchronous(full)&_pragma=cache_size(-32768)")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	s := sqlite{db: db}
	if _, err = db.Exec("create table if not exists keys (key blob primary key, hour integer not null) without rowid"); err != nil {
		return nil, err
	}
	var err2 error
	s.insert, err = db.Prepare("insert or replace into keys values (?, ?)")
	s.get, err2 = db.Prepare("select 1 from keys where key = ?")
	return s, errors.Join(err, err2)
}

func (s sqlite) commit(keys [][16]byte, hour uint32) error {
	tx, err := s.db.Begin()
	if err != nil {
		return err
	}
	insert := tx.Stmt(s.insert)
	for _, k := range keys {
		if _, err := insert.Exec(k[:], hour); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	return tx.Commit()
}

func (s sqlite) seen(key [16]byte) (bool, error) {
	var one int
	err := s.get.QueryRow(key[:]).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

func (s sqlite) close() error { return s.db.Close() }
