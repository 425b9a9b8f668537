package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// A run is all that was measured by one suite of one commit on one machine.
type run struct {
	Suite       string       `json:"suite"`
	Commit      string       `json:"commit"`
	Machine     machine      `json:"machine"`
	Stock       bool         `json:"stockControllers"` // with the controllers' stock client limits
	Began       time.Time    `json:"began"`
	Calibration *calibration `json:"calibration,omitempty"`
	Results     []result     `json:"results"`
}

// A store keeps a run in a file, as a whole after every change, so that an interrupted benchmark can go on.
type store struct {
	path string
	run  run
}

// openStore reads what is there of a suite, a commit and a machine, or begins anew if there is nothing or if fresh is asked for. Suites have
// nothing in common: in one, contenders run side by side that have the machine to themselves in another.
func openStore(dir, suite, commit string, m machine, stock, fresh bool) (*store, error) {
	name := fmt.Sprintf("%s-%s-%s.json", suite, commit, m.key())
	if stock {
		name = "stock-" + name
	}
	s := &store{path: filepath.Join(dir, name)}
	s.run = run{Suite: suite, Commit: commit, Machine: m, Stock: stock, Began: time.Now().UTC().Truncate(time.Second), Results: []result{}}
	if fresh {
		return s, nil
	}
	content, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(content, &s.run); err != nil {
		return nil, fmt.Errorf("read %s: %w", s.path, err)
	}
	return s, nil
}

// has reports whether a trial was made. One that was left out was not.
func (s *store) has(workload, contender string, repetition int) bool {
	return slices.ContainsFunc(s.run.Results, func(r result) bool {
		return r.is(workload, contender, repetition) && r.Outcome != leftOut
	})
}

func (r result) is(workload, contender string, repetition int) bool {
	return r.Workload == workload && r.Contender == contender && r.Repetition == repetition
}

// add keeps results, each in place of one of the same trial.
func (s *store) add(results ...result) error {
	for _, r := range results {
		s.run.Results = slices.DeleteFunc(s.run.Results, func(old result) bool { return old.is(r.Workload, r.Contender, r.Repetition) })
		s.run.Results = append(s.run.Results, r)
	}
	return s.save()
}

func (s *store) save() error {
	content, err := json.MarshalIndent(s.run, "", " ")
	if err != nil {
		return err
	}
	return writeWhole(s.path, append(content, '\n'))
}

// writeWhole replaces a file in one go.
func writeWhole(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	unfinished := path + ".unfinished"
	if err := os.WriteFile(unfinished, content, 0o644); err != nil {
		return err
	}
	return os.Rename(unfinished, path)
}
