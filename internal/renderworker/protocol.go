package renderworker

import (
	"bufio"
	"encoding/gob"
	"errors"
	"io"
	"io/fs"
	"time"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/render/engine"
)

// Program and worker write gob values to each other: a request begins a job, the worker asks questions and gets answers, one at
// a time, and ends with a result.

// toWorker is what the program writes: a job, or the answer to a question.
type toWorker struct {
	Job    *engine.Job
	Answer *answer
}

// fromWorker is what a worker writes: a question, or the result of the job.
type fromWorker struct {
	Question *question
	Result   *result
}

// operation is what a question asks for.
type operation int

const (
	opStat operation = iota
	opReadFile
	opReadDir
	opHash
	opAPIs
)

// question asks for something of the commit, or for the cluster's APIs.
type question struct {
	Operation operation
	Name      string
}

// answer has the field of the operation, or a problem.
type answer struct {
	Data    []byte
	Hash    string
	Info    fileInfo
	Entries []fileInfo
	APIs    apis
	Problem *problem
}

// result of a job: objects, or a problem.
type result struct {
	Rendered *engine.Rendered
	Problem  *problem
}

// fileInfo is a file or folder. It is its own fs.FileInfo and fs.DirEntry.
type fileInfo struct {
	FileName string
	Bytes    int64
	FileMode fs.FileMode
}

func infoOf(info fs.FileInfo) fileInfo { return fileInfo{info.Name(), info.Size(), info.Mode()} }

func (f fileInfo) Name() string               { return f.FileName }
func (f fileInfo) Size() int64                { return f.Bytes }
func (f fileInfo) Mode() fs.FileMode          { return f.FileMode }
func (f fileInfo) ModTime() time.Time         { return time.Time{} }
func (f fileInfo) IsDir() bool                { return f.FileMode.IsDir() }
func (f fileInfo) Sys() any                   { return nil }
func (f fileInfo) Type() fs.FileMode          { return f.FileMode.Type() }
func (f fileInfo) Info() (fs.FileInfo, error) { return f, nil }

// apis is what a cluster serves. The resources are left out where the worker has them by their digest.
type apis struct {
	Digest, Version string
	Known           bool
	Resources       []musterv1alpha1.APIResource
}

// problem is an error on its way between processes.
type problem struct {
	Fault    *fleet.Fault
	NotExist bool
	Text     string
}

func problemOf(err error) *problem {
	if err == nil {
		return nil
	}
	p := &problem{NotExist: errors.Is(err, fs.ErrNotExist), Text: err.Error()}
	if f, ok := fleet.AsFault(err); ok {
		f.Err = nil
		p.Fault = &f
	}
	return p
}

// missing is the error of a file that is not there, as the program's tree said it.
type missing struct{ text string }

func (m missing) Error() string { return m.text }

// Is makes it fs.ErrNotExist.
func (missing) Is(target error) bool { return target == fs.ErrNotExist }

func (p *problem) err() error {
	switch {
	case p == nil:
		return nil
	case p.Fault != nil:
		return *p.Fault
	case p.NotExist:
		return missing{p.Text}
	}
	return errors.New(p.Text)
}

// pipes are the two directions between two processes.
type pipes struct {
	encoder *gob.Encoder
	writer  *bufio.Writer
	decoder *gob.Decoder
	limit   *io.LimitedReader
}

// pipesOf reads values of at most maxBytes each; 0 is any size.
func pipesOf(r io.Reader, w io.Writer) *pipes {
	p := &pipes{writer: bufio.NewWriterSize(w, 1<<16), limit: &io.LimitedReader{R: bufio.NewReaderSize(r, 1<<16)}}
	p.encoder, p.decoder = gob.NewEncoder(p.writer), gob.NewDecoder(byteReader{p.limit})
	return p
}

// byteReader keeps gob from reading ahead: the limit is of one value.
type byteReader struct{ *io.LimitedReader }

func (r byteReader) ReadByte() (byte, error) {
	if r.N <= 0 {
		return 0, io.EOF
	}
	r.N--
	return r.R.(*bufio.Reader).ReadByte()
}

func (p *pipes) write(value any) error {
	if err := p.encoder.Encode(value); err != nil {
		return err
	}
	return p.writer.Flush()
}

var errTooLarge = errors.New("a value is larger than it may be")

// read reads a value of at most maxBytes.
func (p *pipes) read(into any, maxBytes int64) error {
	p.limit.N = maxBytes
	err := p.decoder.Decode(into)
	if err != nil && p.limit.N <= 0 {
		return errTooLarge
	}
	return err
}
