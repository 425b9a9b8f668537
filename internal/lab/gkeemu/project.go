package gkeemu

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// project is what Google's other APIs tell: the permissions that are denied, and the quotas of every region.
type project struct {
	denied []string
	quotas map[string]quota // by metric
	server *http.Server
	addr   string
}

type quota struct {
	Metric string  `json:"metric"`
	Limit  float64 `json:"limit"`
	Usage  float64 `json:"usage"`
}

// ampleQuotas are those of a project that has asked for some. E2_CPUS is told, and nothing is counted there, as at Google's.
func ampleQuotas() map[string]quota {
	quotas := map[string]quota{}
	for metric, limit := range map[string]float64{"CPUS": 2400, "E2_CPUS": 24, "N2_CPUS": 500, "PREEMPTIBLE_CPUS": 0, "INSTANCES": 6000, "IN_USE_ADDRESSES": 500, "SSD_TOTAL_GB": 80000} {
		quotas[metric] = quota{Metric: metric, Limit: limit}
	}
	return quotas
}

// serveProject serves Resource Manager's projects.testIamPermissions and Compute Engine's regions.get.
func (s *Server) serveProject(listener net.Listener) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/projects/{call}", s.testPermissions)
	mux.HandleFunc("GET /compute/v1/projects/{project}/regions/{region}", s.region)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.log.Error("not emulated", "method", r.Method, "path", r.URL.Path)
		answerError(w, http.StatusNotFound, "NOT_FOUND", "Method not found.")
	})
	s.project = project{
		quotas: ampleQuotas(), addr: listener.Addr().String(),
		server: &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second},
	}
	s.work.Go(func() { _ = s.project.server.Serve(listener) }) // ends with Close, with nothing to tell
}

// Env is what points Google's client libraries, and gcloud, at the emulator: HTTP without TLS and credentials.
func (s *Server) Env() []string {
	const override = "CLOUDSDK_API_ENDPOINT_OVERRIDES_"
	return []string{
		override + "CONTAINER=" + s.URL(),
		override + "CLOUDRESOURCEMANAGER=http://" + s.project.addr + "/",
		override + "COMPUTE=http://" + s.project.addr + "/compute/v1/",
	}
}

// Deny has projects.testIamPermissions deny permissions. No other call asks for them.
func (s *Server) Deny(permissions ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.project.denied = append(s.project.denied, permissions...)
}

// SetQuota sets a quota of every region. Nothing counts what is used.
func (s *Server) SetQuota(metric string, limit, usage float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.project.quotas[metric] = quota{Metric: metric, Limit: limit, Usage: usage}
}

func (s *Server) testPermissions(w http.ResponseWriter, r *http.Request) {
	var list struct {
		Permissions []string `json:"permissions,omitempty"`
	}
	name, ok := strings.CutSuffix(r.PathValue("call"), ":testIamPermissions")
	switch err := json.NewDecoder(r.Body).Decode(&list); {
	case !ok:
		answerError(w, http.StatusNotFound, "NOT_FOUND", "Method not found.")
		return
	case err != nil:
		answerError(w, http.StatusBadRequest, "INVALID_ARGUMENT", fmt.Sprintf("Invalid JSON payload received. %s", err))
		return
	case !s.hasProject(name):
		answerError(w, http.StatusForbidden, "PERMISSION_DENIED", "The caller does not have permission")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	list.Permissions = slices.DeleteFunc(list.Permissions, func(p string) bool { return slices.Contains(s.project.denied, p) })
	answer(w, list)
}

func (s *Server) region(w http.ResponseWriter, r *http.Request) {
	if !s.hasProject(r.PathValue("project")) {
		answerError(w, http.StatusForbidden, "PERMISSION_DENIED", fmt.Sprintf("Required 'compute.regions.get' permission for 'projects/%s/regions/%s'", r.PathValue("project"), r.PathValue("region")))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []quota
	for _, metric := range slices.Sorted(maps.Keys(s.project.quotas)) {
		list = append(list, s.project.quotas[metric])
	}
	answer(w, map[string]any{"quotas": list})
}

// hasProject tells whether a project is that of a cluster.
func (s *Server) hasProject(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.clusters {
		if c.spec.Project == name {
			return true
		}
	}
	return false
}

func answer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body) // a client that has gone needs no answer
}

func answerError(w http.ResponseWriter, code int, status, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": code, "status": status, "message": message}})
}
