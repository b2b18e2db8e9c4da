package deploy

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	natsserver "github.com/nats-io/nats-server/v2/server"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

const replicasPage = "../docs/replicas.md"

// replicas are the containers of a deployment of replicas.
type replicas struct{ connectors, servers []container }

func newReplicas(all []container) (r replicas) {
	for _, c := range all {
		if strings.HasPrefix(c.image, "nats:") {
			r.servers = append(r.servers, c)
		} else {
			r.connectors = append(r.connectors, c)
		}
	}
	return r
}

// deployments are the ways to run replicas that are shipped. Their settings are env, and
// what the commands of the page add.
var deployments = map[string]func(t *testing.T, env string) replicas{
	"compose": func(t *testing.T, env string) replicas {
		return newReplicas(composeContainers(t, loadCompose(t, filepath.Join(followPage(t, env), "replicas"))))
	},
	"kubernetes": func(t *testing.T, env string) replicas {
		dir := followPage(t, env)
		nats, tenant := buildServers(t, dir), buildReplicas(t, dir)
		return replicas{
			connectors: podContainers(t, tenant.statefulSet, corev1.ConfigMap{}, tenant.secret),
			servers:    podContainers(t, nats.statefulSet, nats.config, nats.secret),
		}
	},
}

// followPage runs the commands that the page shows, on a copy of this folder. It returns
// the copy. What runs containers does nothing here.
func followPage(t *testing.T, env string) string {
	t.Helper()
	dir := t.TempDir()
	for _, folder := range []string{"kubernetes", "replicas"} {
		if err := os.CopyFS(filepath.Join(dir, "deploy", folder), os.DirFS(folder)); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, filepath.Join(dir, ".env.example"), env)
	writeFile(t, filepath.Join(dir, "deploy/kubernetes/contoso/.env"), env)
	commands := regexp.MustCompile("(?ms)^```console\n(.*?)^```").FindAllStringSubmatch(readFile(t, replicasPage), -1)
	for _, block := range commands {
		// Lines without a prompt are what a command prints.
		script := "docker() { :; }; kubectl() { :; }; s60-m365-connector() { :; }\n"
		for _, line := range regexp.MustCompile(`(?m)^\$ (.*)$`).FindAllStringSubmatch(block[1], -1) {
			script += line[1] + "\n"
		}
		cmd := exec.Command("bash", "-euc", script)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("what %s shows: %v\n%s\n%s", replicasPage, err, script, out)
		}
	}
	if len(commands) < 2 {
		t.Errorf("%s shows %d blocks of commands", replicasPage, len(commands))
	}
	return filepath.Join(dir, "deploy")
}

// servers are the objects of the folder nats.
type servers struct {
	statefulSet   appsv1.StatefulSet
	service       corev1.Service
	config        corev1.ConfigMap
	secret        corev1.Secret
	budget        policyv1.PodDisruptionBudget
	networkPolicy networkingv1.NetworkPolicy
}

func buildServers(t *testing.T, dir string) servers {
	t.Helper()
	built := kustomize(t, filepath.Join(dir, "kubernetes/nats"))
	all := servers{
		statefulSet:   take[appsv1.StatefulSet](t, built, "nats"),
		service:       take[corev1.Service](t, built, "nats"),
		config:        take[corev1.ConfigMap](t, built, "nats-*"),
		secret:        take[corev1.Secret](t, built, "nats-*"),
		budget:        take[policyv1.PodDisruptionBudget](t, built, "nats"),
		networkPolicy: take[networkingv1.NetworkPolicy](t, built, "nats"),
	}
	nothingElse(t, built)
	return all
}

// tenant is an overlay that has taken up the component replicas.
type tenant struct {
	objects
	budget  policyv1.PodDisruptionBudget
	toState networkingv1.NetworkPolicy
}

func buildReplicas(t *testing.T, dir string) (all tenant) {
	t.Helper()
	built := kustomize(t, filepath.Join(dir, "kubernetes/contoso"))
	all.budget = take[policyv1.PodDisruptionBudget](t, built, "s60-m365-connector-contoso")
	all.toState = take[networkingv1.NetworkPolicy](t, built, "s60-m365-connector-state-contoso")
	all.objects = takeObjects(t, built, "contoso")
	nothingElse(t, built)
	return all
}

// TestReplicasFindEachOther: the connectors' STATE_URL leads to the servers, with a
// password that these take; the servers' configuration, read by the server itself, makes
// one cluster of them.
func TestReplicasFindEachOther(t *testing.T) {
	for name, read := range deployments {
		t.Run(name, func(t *testing.T) {
			all := read(t, readFile(t, "../.env.example"))
			if len(all.connectors) != 2 || len(all.servers) != 3 {
				t.Fatalf("%d connectors and %d servers", len(all.connectors), len(all.servers))
			}
			var names []string
			hosts := map[string]container{}
			for _, c := range slices.Concat(all.connectors, all.servers) {
				if slices.Contains(names, c.name) {
					t.Errorf("two are called %s", c.name)
				}
				names = append(names, c.name)
			}
			for _, c := range all.servers {
				for _, name := range c.names {
					hosts[name] = c
				}
			}
			var first *natsserver.Options
			for _, c := range all.servers {
				o := serverOptions(t, c)
				if first == nil {
					first = o
				}
				if o.ServerName != c.name || o.Cluster.Name == "" || o.Cluster.Name != first.Cluster.Name {
					t.Errorf("%s: server %q of cluster %q", c.name, o.ServerName, o.Cluster.Name)
				}
				if !o.JetStream || !o.SyncAlways || o.JetStreamMaxStore <= 0 || !slices.Equal(c.volumes, []string{o.StoreDir}) {
					t.Errorf("%s: JetStream %t, syncs always %t, at most %d bytes in %s; volumes are %v", c.name, o.JetStream, o.SyncAlways, o.JetStreamMaxStore, o.StoreDir, c.volumes)
				}
				var peers []string
				for _, route := range o.Routes {
					password, _ := route.User.Password()
					if route.Port() != strconv.Itoa(o.Cluster.Port) || route.User.Username() != o.Cluster.Username || password != o.Cluster.Password {
						t.Errorf("%s: the route to %s is not one that the servers take", c.name, route.Host)
					}
					peers = append(peers, hosts[route.Hostname()].name)
				}
				if slices.Sort(peers); !slices.Equal(peers, names[2:]) {
					t.Errorf("%s: routes lead to %q, the servers are %q", c.name, peers, names[2:])
				}
				if o.Password == "" || o.Password != first.Password || o.Cluster.Password == "" {
					t.Errorf("%s: without a password, or with one of its own", c.name)
				}
				if healthy, err := url.Parse(c.healthy); err != nil || healthy.Port() != strconv.Itoa(o.HTTPPort) {
					t.Errorf("%s: its health is asked for at %s, it answers at port %d", c.name, c.healthy, o.HTTPPort)
				}
				version := regexp.MustCompile(`nats-server/v2 v(\S+)`).FindStringSubmatch(readFile(t, "go.mod"))
				if c.image != "nats:"+version[1]+"-alpine" {
					t.Errorf("%s runs %s, tested is %s", c.name, c.image, version[1])
				}
			}
			for _, c := range all.connectors {
				if c.env["TENANT_ID"] == "" || c.env["REPLICA_NAME"] != "" || !slices.Equal(c.volumes, []string{"/state"}) {
					t.Errorf("%s: tenant %q, name %q, volumes %v", c.name, c.env["TENANT_ID"], c.env["REPLICA_NAME"], c.volumes)
				}
				var found []string
				for part := range strings.SplitSeq(c.env["STATE_URL"], ",") {
					u, err := url.Parse(part)
					if err != nil || u.Scheme != "nats" || u.Port() != strconv.Itoa(first.Port) {
						t.Fatalf("%s: STATE_URL has a part %q: %v", c.name, part, err)
					}
					if password, _ := u.User.Password(); len(found) == 0 && (u.User.Username() != first.Username || password != first.Password) {
						t.Errorf("%s: STATE_URL has not the servers' password", c.name)
					}
					found = append(found, hosts[u.Hostname()].name)
				}
				if !slices.Equal(found, names[2:]) {
					t.Errorf("%s: STATE_URL leads to %q, the servers are %q", c.name, found, names[2:])
				}
			}
		})
	}
}

// serverOptions is the configuration of a server, as the server reads it.
func serverOptions(t *testing.T, c container) *natsserver.Options {
	t.Helper()
	if len(c.args) != 2 || c.args[0] != "--config" || c.files[c.args[1]] == "" {
		t.Fatalf("%s is started with %q, files are mounted at %v", c.name, c.args, c.files)
	}
	for name, value := range c.env {
		t.Setenv(name, value)
	}
	file := filepath.Join(t.TempDir(), "nats.conf")
	writeFile(t, file, c.files[c.args[1]])
	o, err := natsserver.ProcessConfigFile(file)
	if err != nil {
		t.Fatalf("%s: %v", c.name, err)
	}
	return o
}

// TestServersTakeAnyPassword: in the servers' language a text such as 0123 or 1e5 is a
// number, unless it is in quotes.
func TestServersTakeAnyPassword(t *testing.T) {
	for name, read := range deployments {
		c := read(t, readFile(t, "../.env.example")).servers[0]
		password := strings.Trim(c.env["PASSWORD"], `"`)
		for _, other := range []string{"0123", "12e5", "9abcdef", "5gb", "true", "deadbeef"} {
			for _, name := range []string{"PASSWORD", "ROUTES"} {
				c.env[name] = strings.ReplaceAll(c.env[name], password, other)
			}
			if o := serverOptions(t, c); o.Password != other || o.Cluster.Password != other {
				t.Errorf("%s: %s becomes %q and %q", name, other, o.Password, o.Cluster.Password)
			}
			password = other
		}
	}
}

func TestComposeReplicas(t *testing.T) {
	project := loadCompose(t, filepath.Join(followPage(t, readFile(t, "../.env.example")), "replicas"))
	single := loadCompose(t, withEnv(t)).Services["s60-m365-connector"]
	volumes := map[string]string{}
	for name, service := range project.Services {
		if !service.ReadOnly || !slices.Equal(service.CapDrop, []string{"ALL"}) || !slices.Equal(service.SecurityOpt, []string{"no-new-privileges:true"}) {
			t.Errorf("%s: read only %t, drops %v, options %v", name, service.ReadOnly, service.CapDrop, service.SecurityOpt)
		}
		if service.Restart != "always" || service.Privileged || len(service.Ports) > 0 || len(service.CapAdd) > 0 {
			t.Errorf("%s: restart %q, privileged %t, ports %v, capabilities %v", name, service.Restart, service.Privileged, service.Ports, service.CapAdd)
		}
		for _, volume := range service.Volumes {
			switch {
			case volume.Type == types.VolumeTypeBind && volume.ReadOnly:
			case volume.Type != types.VolumeTypeVolume || volumes[volume.Source] != "":
				t.Errorf("%s: the volume at %s is that of %s, too", name, volume.Target, volumes[volume.Source])
			default:
				volumes[volume.Source] = name
			}
		}
		if _, on := service.Networks["state"]; !on {
			t.Errorf("%s is not on the network of the state", name)
		}
		_, out := service.Networks["default"]
		if isServer := strings.HasPrefix(service.Image, "nats:"); out == isServer {
			t.Errorf("%s: on the network that leads out: %t", name, out)
		} else if !isServer && (service.Image != single.Image || *service.StopGracePeriod != *single.StopGracePeriod || service.Restart != single.Restart || service.PullPolicy != single.PullPolicy || service.Logging.Driver != single.Logging.Driver) {
			t.Errorf("%s differs from the connector of ../compose.yaml in more than what makes it a replica", name)
		}
	}
	if !project.Networks["state"].Internal {
		t.Error("the network of the state leads out")
	}
	if !strings.Contains(readFile(t, replicasPage), "```yaml\n"+readFile(t, "replicas/compose.yaml")+"```") {
		t.Errorf("%s does not show replicas/compose.yaml as it is", replicasPage)
	}
}

func TestKubernetesServers(t *testing.T) {
	all := buildServers(t, followPage(t, readFile(t, "../.env.example")))
	set := all.statefulSet
	pod := set.Spec.Template
	isRestricted(t, pod)
	if *set.Spec.Replicas != 3 || set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement || set.Spec.ServiceName != all.service.Name || !all.service.Spec.PublishNotReadyAddresses || all.service.Spec.ClusterIP != corev1.ClusterIPNone {
		t.Errorf("%d replicas, started %s, found by %s: %v", *set.Spec.Replicas, set.Spec.PodManagementPolicy, set.Spec.ServiceName, all.service.Spec)
	}
	selects(t, "StatefulSet", set.Spec.Selector, pod)
	selects(t, "Service", &metav1.LabelSelector{MatchLabels: all.service.Spec.Selector}, pod)
	selects(t, "PodDisruptionBudget", all.budget.Spec.Selector, pod)
	apart := pod.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	selects(t, "anti-affinity", apart[0].LabelSelector, pod)
	if all.budget.Spec.MaxUnavailable.IntValue() != 1 || apart[0].TopologyKey != corev1.LabelHostname {
		t.Errorf("at most %d may be away; apart by %s", all.budget.Spec.MaxUnavailable.IntValue(), apart[0].TopologyKey)
	}
	ports := pod.Spec.Containers[0].Ports
	for _, port := range all.service.Spec.Ports {
		if !slices.ContainsFunc(ports, func(p corev1.ContainerPort) bool {
			return p.Name == port.TargetPort.StrVal && p.ContainerPort == port.Port
		}) {
			t.Errorf("the Service's port %s is none of the container's", port.Name)
		}
	}
	o := serverOptions(t, podContainers(t, set, all.config, all.secret)[0])
	if size := set.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests.Storage(); o.JetStreamMaxStore >= size.Value() {
		t.Errorf("JetStream may fill %d bytes, the claim has %d", o.JetStreamMaxStore, size.Value())
	}
}

func TestKubernetesReplicas(t *testing.T) {
	dir := followPage(t, readFile(t, "../.env.example"))
	all, nats := buildReplicas(t, dir), buildServers(t, dir)
	pod := all.statefulSet.Spec.Template
	isRestricted(t, pod)
	if *all.statefulSet.Spec.Replicas != 2 || all.statefulSet.Spec.PodManagementPolicy != appsv1.ParallelPodManagement || len(all.statefulSet.Spec.VolumeClaimTemplates) != 1 {
		t.Errorf("%d replicas, started %s, with %d claims each", *all.statefulSet.Spec.Replicas, all.statefulSet.Spec.PodManagementPolicy, len(all.statefulSet.Spec.VolumeClaimTemplates))
	}
	if all.statefulSet.Namespace != nats.statefulSet.Namespace {
		t.Errorf("the connectors are in %s, the servers in %s", all.statefulSet.Namespace, nats.statefulSet.Namespace)
	}
	apart := pod.Spec.Affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution[0].PodAffinityTerm
	for what, selector := range map[string]*metav1.LabelSelector{"PodDisruptionBudget": all.budget.Spec.Selector, "anti-affinity": apart.LabelSelector, "NetworkPolicy": &all.toState.Spec.PodSelector} {
		selects(t, what, selector, pod)
		if selector.MatchLabels["app.kubernetes.io/instance"] != "contoso" {
			t.Errorf("the %s does not tell this tenant from another: %v", what, selector.MatchLabels)
		}
	}
	if all.budget.Spec.MaxUnavailable.IntValue() != 1 || apart.TopologyKey != corev1.LabelHostname {
		t.Errorf("at most %d may be away; apart by %s", all.budget.Spec.MaxUnavailable.IntValue(), apart.TopologyKey)
	}
	policies := []networkingv1.NetworkPolicy{all.networkPolicy, all.toState, nats.networkPolicy}
	server := nats.statefulSet.Spec.Template
	for _, c := range []struct {
		from, to corev1.PodTemplateSpec
		port     int32
		want     bool
	}{
		{pod, server, 4222, true},
		{server, server, 6222, true},
		{pod, server, 6222, false},
		{pod, server, 8222, false},
		{server, server, 4222, false},
		{server, pod, 8080, false},
		{pod, pod, 8080, false},
	} {
		if got := lets(policies, c.from, c.to, c.port); got != c.want {
			t.Errorf("from %s to %s, port %d: allowed %t, want %t", c.from.Spec.Containers[0].Name, c.to.Spec.Containers[0].Name, c.port, got, c.want)
		}
	}
}

func selects(t *testing.T, what string, selector *metav1.LabelSelector, pod corev1.PodTemplateSpec) {
	t.Helper()
	if !matches(selector, pod) {
		t.Errorf("the %s selects %v; the pod has %v", what, selector, pod.Labels)
	}
}

func matches(selector *metav1.LabelSelector, pod corev1.PodTemplateSpec) bool {
	if selector == nil {
		return false
	}
	compiled, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && !compiled.Empty() && compiled.Matches(labels.Set(pod.Labels))
}

// lets tells whether the policies let a pod of the namespace connect to another: a rule
// for the one to go out, and one for the other to be reached.
func lets(policies []networkingv1.NetworkPolicy, from, to corev1.PodTemplateSpec, port int32) bool {
	open := func(peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort, peer corev1.PodTemplateSpec) bool {
		return slices.ContainsFunc(peers, func(p networkingv1.NetworkPolicyPeer) bool { return matches(p.PodSelector, peer) }) &&
			slices.ContainsFunc(ports, func(p networkingv1.NetworkPolicyPort) bool {
				return p.Port.IntVal == port || slices.ContainsFunc(to.Spec.Containers[0].Ports, func(c corev1.ContainerPort) bool {
					return c.Name == p.Port.StrVal && c.ContainerPort == port
				})
			})
	}
	var out, in bool
	for _, policy := range policies {
		if matches(&policy.Spec.PodSelector, from) {
			out = out || slices.ContainsFunc(policy.Spec.Egress, func(r networkingv1.NetworkPolicyEgressRule) bool { return open(r.To, r.Ports, to) })
		}
		if matches(&policy.Spec.PodSelector, to) {
			in = in || slices.ContainsFunc(policy.Spec.Ingress, func(r networkingv1.NetworkPolicyIngressRule) bool { return open(r.From, r.Ports, from) })
		}
	}
	return out && in
}
