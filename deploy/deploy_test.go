// Package deploy holds the files that run the connector on Kubernetes and
// systemd, and several replicas of it. Its tests read each with the code of the program that
// it is for, and start the replicas.
package deploy

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	psapi "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// objects are what an overlay of one connector builds to.
type objects struct {
	statefulSet   appsv1.StatefulSet
	service       corev1.Service
	account       corev1.ServiceAccount
	secret        corev1.Secret
	networkPolicy networkingv1.NetworkPolicy
}

// build builds the overlay of a tenant with the shipped .env.example as its .env.
func build(t *testing.T, overlay string) objects {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("kubernetes")); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, overlay, ".env"), readFile(t, "../.env.example"))
	built := kustomize(t, filepath.Join(dir, overlay))
	all := takeObjects(t, built, overlay)
	nothingElse(t, built)
	return all
}

func takeObjects(t *testing.T, built map[string][]byte, overlay string) objects {
	t.Helper()
	name := "s60-m365-connector-" + overlay
	return objects{
		statefulSet:   take[appsv1.StatefulSet](t, built, name),
		service:       take[corev1.Service](t, built, name),
		account:       take[corev1.ServiceAccount](t, built, name),
		secret:        take[corev1.Secret](t, built, name+"-*"),
		networkPolicy: take[networkingv1.NetworkPolicy](t, built, name),
	}
}

// kustomize builds what kubectl apply -k does: YAML by "Kind name".
func kustomize(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for _, resource := range built.Resources() {
		text, err := resource.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		all[resource.GetKind()+" "+resource.GetName()] = text
	}
	return all
}

// take takes the object of a type and a name, * being any text, out of what was
// built. No field may be left over.
func take[T any](t *testing.T, built map[string][]byte, name string) (object T) {
	t.Helper()
	name = reflect.TypeFor[T]().Name() + " " + name
	for found, text := range built {
		if ok, err := path.Match(name, found); err != nil || !ok {
			continue
		}
		if err := yaml.UnmarshalStrict(text, &object); err != nil {
			t.Errorf("%s: %v", found, err)
		}
		delete(built, found)
		return object
	}
	t.Fatalf("no %s was built, but %q", name, slices.Sorted(maps.Keys(built)))
	return object
}

func nothingElse(t *testing.T, built map[string][]byte) {
	t.Helper()
	for name := range built {
		t.Errorf("%s: not one that is expected", name)
	}
}

func TestKubernetesObjectsFitTogether(t *testing.T) {
	all := build(t, "contoso")
	set := all.statefulSet
	pod := set.Spec.Template
	container := pod.Spec.Containers[0]

	if got := container.EnvFrom[0].SecretRef.Name; got != all.secret.Name || !strings.HasPrefix(got, "s60-m365-connector-contoso-") {
		t.Errorf("the container takes its settings from %q, the Secret is %q", got, all.secret.Name)
	}
	if len(all.secret.Data["TENANT_ID"]) == 0 {
		t.Error("the Secret does not hold what .env does")
	}
	if pod.Spec.ServiceAccountName != all.account.Name {
		t.Errorf("the pod runs as %q, the ServiceAccount is %q", pod.Spec.ServiceAccountName, all.account.Name)
	}
	if set.Spec.ServiceName != all.service.Name {
		t.Errorf("the StatefulSet names the Service %q, which is %q", set.Spec.ServiceName, all.service.Name)
	}
	podLabels := labels.Set(pod.Labels)
	for name, selector := range map[string]*metav1.LabelSelector{
		"StatefulSet":   set.Spec.Selector,
		"Service":       {MatchLabels: all.service.Spec.Selector},
		"NetworkPolicy": &all.networkPolicy.Spec.PodSelector,
	} {
		compiled, err := metav1.LabelSelectorAsSelector(selector)
		if err != nil || compiled.Empty() || !compiled.Matches(podLabels) {
			t.Errorf("the %s selects %v (%v); the pod has %v", name, selector.MatchLabels, err, pod.Labels)
		}
		if selector.MatchLabels["app.kubernetes.io/instance"] != "contoso" {
			t.Errorf("the %s does not tell this tenant from another: %v", name, selector.MatchLabels)
		}
	}
	if *set.Spec.Replicas != 1 {
		t.Errorf("%d replicas; one state directory takes one", *set.Spec.Replicas)
	}
	if !slices.ContainsFunc(container.VolumeMounts, func(m corev1.VolumeMount) bool {
		return m.Name == set.Spec.VolumeClaimTemplates[0].Name && m.MountPath == "/state" && !m.ReadOnly
	}) {
		t.Error("the claim is not mounted at /state")
	}
	for _, mount := range container.VolumeMounts {
		if mount.Name != "state" && !slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == mount.Name }) {
			t.Errorf("mount %s names no volume", mount.Name)
		}
	}
	for name, probe := range map[string]*corev1.Probe{"startup": container.StartupProbe, "liveness": container.LivenessProbe, "readiness": container.ReadinessProbe} {
		if probe == nil || !slices.ContainsFunc(container.Ports, func(p corev1.ContainerPort) bool { return p.Name == probe.HTTPGet.Port.StrVal }) {
			t.Errorf("the %s probe asks at no port of the container", name)
		}
	}
	if container.Resources.Limits.Memory().IsZero() || container.Resources.Requests.Cpu().IsZero() {
		t.Errorf("resources are %v", container.Resources)
	}
}

func TestKubernetesPodIsRestricted(t *testing.T) {
	pod := build(t, "contoso").statefulSet.Spec.Template
	isRestricted(t, pod)
	if user := int64(imageUser(t)); user != *pod.Spec.SecurityContext.RunAsUser || user != *pod.Spec.SecurityContext.FSGroup {
		t.Errorf("the image runs as %d, the pod as %d with group %d", user, *pod.Spec.SecurityContext.RunAsUser, *pod.Spec.SecurityContext.FSGroup)
	}
}

// isRestricted: the pod meets the strictest of Kubernetes' own security standards, and what
// that leaves open: no token of the cluster, a root file system that is read-only.
func isRestricted(t *testing.T, pod corev1.PodTemplateSpec) {
	t.Helper()
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	level := psapi.LevelVersion{Level: psapi.LevelRestricted, Version: psapi.LatestVersion()}
	result := policy.AggregateCheckResults(evaluator.EvaluatePod(level, &pod.ObjectMeta, &pod.Spec))
	if !result.Allowed {
		t.Errorf("not restricted: %s", result.ForbiddenDetail())
	}
	if token := pod.Spec.AutomountServiceAccountToken; token == nil || *token {
		t.Error("a token of the cluster is mounted")
	}
	if readOnly := pod.Spec.Containers[0].SecurityContext.ReadOnlyRootFilesystem; readOnly == nil || !*readOnly {
		t.Error("the root file system is writable")
	}
}

func TestKubernetesNetworkPolicyIsClosed(t *testing.T) {
	spec := build(t, "contoso").networkPolicy.Spec
	if !slices.Contains(spec.PolicyTypes, networkingv1.PolicyTypeEgress) || !slices.Contains(spec.PolicyTypes, networkingv1.PolicyTypeIngress) {
		t.Errorf("policy types are %v", spec.PolicyTypes)
	}
	for _, rule := range spec.Egress {
		if len(rule.To) == 0 || len(rule.Ports) == 0 {
			t.Errorf("a rule lets everything out: %v", rule)
		}
		for _, port := range rule.Ports {
			if number := port.Port.IntValue(); number != 53 && number != 443 {
				t.Errorf("port %d is open", number)
			}
		}
	}
	for _, rule := range spec.Ingress {
		if len(rule.From) == 0 || len(rule.Ports) == 0 {
			t.Errorf("a rule lets everything in: %v", rule)
		}
	}
}

func TestCompose(t *testing.T) {
	dir := withEnv(t)
	service, err := loadCompose(t, dir).GetService("s60-m365-connector")
	if err != nil {
		t.Fatal(err)
	}
	if service.Environment["TENANT_ID"] == nil || service.Environment["PROJECT_ID"] == nil {
		t.Errorf("the settings of .env do not reach the container: %v", service.Environment)
	}
	if !service.ReadOnly || !slices.Equal(service.CapDrop, []string{"ALL"}) || !slices.Equal(service.SecurityOpt, []string{"no-new-privileges:true"}) {
		t.Errorf("read only %t, drops %v, options %v", service.ReadOnly, service.CapDrop, service.SecurityOpt)
	}
	if len(service.Volumes) != 1 || service.Volumes[0].Type != "volume" || service.Volumes[0].Target != "/state" {
		t.Errorf("volumes are %v, want a named one at /state", service.Volumes)
	}
	if service.Restart != "always" || service.User != "" || service.Privileged {
		t.Errorf("restart %q, user %q, privileged %t", service.Restart, service.User, service.Privileged)
	}

	// What is commented out must work once the # is gone.
	opened := strings.NewReplacer("      # - ./config", "      - ./config", "    # ports:", "    ports:").Replace(readFile(t, "../compose.yaml"))
	if opened == readFile(t, "../compose.yaml") {
		t.Fatal("compose.yaml has no commented lines for /config and the ports")
	}
	writeFile(t, filepath.Join(dir, "compose.yaml"), opened)
	service, err = loadCompose(t, dir).GetService("s60-m365-connector")
	if err != nil {
		t.Fatal(err)
	}
	if len(service.Volumes) != 2 || !service.Volumes[1].ReadOnly || service.Volumes[1].Target != "/config" || len(service.Ports) != 1 || service.Ports[0].HostIP != "127.0.0.1" {
		t.Errorf("with its comments opened: volumes %v, ports %v", service.Volumes, service.Ports)
	}
}

// withEnv is a copy of the folder of ../compose.yaml, with the .env that it asks for.
func withEnv(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for from, to := range map[string]string{"../compose.yaml": "compose.yaml", "../.env.example": ".env"} {
		writeFile(t, filepath.Join(dir, to), readFile(t, from))
	}
	return dir
}

// loadCompose reads a compose.yaml as docker compose does, with the .env beside it.
func loadCompose(t *testing.T, dir string) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{filepath.Join(dir, "compose.yaml")}, cli.WithName("check"), cli.WithWorkingDirectory(dir),
		cli.WithEnvFiles(), cli.WithDotEnv)
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return project
}

func TestSystemdUnit(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze here")
	}
	// verify wants the program to be there.
	unit := strings.ReplaceAll(readFile(t, "systemd/s60-m365-connector.service"), "/usr/local/bin/s60-m365-connector", "/bin/true")
	file := filepath.Join(t.TempDir(), "s60-m365-connector.service")
	for _, variant := range []string{unit, strings.NewReplacer("#LoadCredential", "LoadCredential", "#Environment", "Environment").Replace(unit)} {
		writeFile(t, file, variant)
		if out, err := exec.Command(analyze, "verify", "--man=no", file).CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
			t.Errorf("systemd-analyze verify: %v\n%s", err, out)
		}
	}
	// Exposure of at most 1.5 out of 10.
	out, err := exec.Command(analyze, "security", "--offline=true", "--threshold=15", "--no-pager", file).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}

// Every setting that these files name is one that the connector knows, and
// every path that a probe asks for is one that it serves.
func TestNamesAreThoseOfTheConnector(t *testing.T) {
	var program strings.Builder
	sources, err := filepath.Glob("../cmd/s60-m365-connector/internal/*/*.go")
	if err != nil || len(sources) == 0 {
		t.Fatalf("no sources of the connector: %v", err)
	}
	for _, source := range sources {
		program.WriteString(readFile(t, source))
	}
	lines := map[string]*regexp.Regexp{
		"../.env.example":                    regexp.MustCompile(`(?m)^#?([A-Z][A-Z0-9_]*)=`),
		"kubernetes/base/statefulset.yaml":   regexp.MustCompile(`(?m)^ +- name: ([A-Z][A-Z0-9_]*)`),
		"replicas/compose.yaml":              regexp.MustCompile(`(?m)^    ([A-Z][A-Z0-9_]*): "`),
		"../docs/replicas.md":                regexp.MustCompile("(?m)^\\| `([A-Z][A-Z0-9_]*)` \\|"),
		"systemd/s60-m365-connector.service": regexp.MustCompile(`(?:Environment=| )([A-Z][A-Z0-9_]*)=%`),
	}
	for file, pattern := range lines {
		found := pattern.FindAllStringSubmatch(readFile(t, file), -1)
		if len(found) == 0 {
			t.Errorf("%s names no setting", file)
		}
		for _, match := range found {
			if !strings.Contains(program.String(), `"`+match[1]+`"`) {
				t.Errorf("%s sets %s, which the connector does not know", file, match[1])
			}
		}
	}
	for _, match := range regexp.MustCompile(`path: (/[a-z]+), port: http`).FindAllStringSubmatch(readFile(t, "kubernetes/base/statefulset.yaml"), -1) {
		if !strings.Contains(program.String(), match[1]+`"`) {
			t.Errorf("a probe asks for %s, which the connector does not serve", match[1])
		}
	}
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		t.Fatalf("%s is missing", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
