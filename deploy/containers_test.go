package deploy

import (
	"cmp"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// This file reads what a compose file and a StatefulSet say of their
// containers.

// composeContainers are those of a compose file.
func composeContainers(t *testing.T, project *types.Project) (all []container) {
	t.Helper()
	for _, name := range project.ServiceNames() {
		service := project.Services[name]
		c := container{name: cmp.Or(service.Hostname, name), names: []string{name}, image: service.Image, args: service.Command,
			env: map[string]string{}, files: map[string]string{}}
		for key, value := range service.Environment {
			c.env[key] = *value
		}
		for _, volume := range service.Volumes {
			if volume.Type == types.VolumeTypeBind {
				c.files[volume.Target] = readFile(t, volume.Source)
			} else {
				c.volumes = append(c.volumes, volume.Target)
			}
		}
		if service.HealthCheck != nil {
			c.healthy = service.HealthCheck.Test[len(service.HealthCheck.Test)-1]
		}
		if strings.HasPrefix(service.Image, "secure60/") {
			c.user = imageUser(t)
		}
		all = append(all, c)
	}
	return all
}

// imageUser is the user of the connector's image.
func imageUser(t *testing.T) int {
	t.Helper()
	match := regexp.MustCompile(`(?m)^USER (\d+):(\d+)$`).FindStringSubmatch(readFile(t, "../Dockerfile"))
	if match == nil || match[1] != match[2] {
		t.Fatalf("the Dockerfile's user is %v", match)
	}
	user, err := strconv.Atoi(match[1])
	if err != nil {
		t.Fatal(err)
	}
	return user
}

// podContainers are those of the set's pods.
func podContainers(t *testing.T, set appsv1.StatefulSet, config corev1.ConfigMap, secret corev1.Secret) (all []container) {
	t.Helper()
	spec := set.Spec.Template.Spec
	for i := range int(*set.Spec.Replicas) {
		from := spec.Containers[0]
		name := fmt.Sprintf("%s-%d", set.Name, i)
		c := container{name: name, names: []string{name, name + "." + set.Spec.ServiceName}, image: from.Image, args: from.Args,
			env: map[string]string{}, files: map[string]string{}, user: int(*spec.SecurityContext.RunAsUser)}
		for _, source := range from.EnvFrom {
			if source.SecretRef.Name != secret.Name {
				t.Fatalf("%s: no Secret %s", name, source.SecretRef.Name)
			}
			for key, value := range secret.Data {
				c.env[key] = string(value)
			}
		}
		for _, v := range from.Env {
			c.env[v.Name] = variable(t, v, name, c.env, secret)
		}
		for _, mount := range from.VolumeMounts {
			i := slices.IndexFunc(spec.Volumes, func(v corev1.Volume) bool { return v.Name == mount.Name })
			switch {
			case i < 0 || spec.Volumes[i].EmptyDir != nil: // a claim
				c.volumes = append(c.volumes, mount.MountPath)
			case spec.Volumes[i].ConfigMap.Name == config.Name:
				for file, text := range config.Data {
					c.files[path.Join(mount.MountPath, file)] = text
				}
			case spec.Volumes[i].ConfigMap.Optional == nil || !*spec.Volumes[i].ConfigMap.Optional:
				t.Fatalf("%s: no ConfigMap %s", name, spec.Volumes[i].ConfigMap.Name)
			}
		}
		get := from.ReadinessProbe.HTTPGet
		for _, port := range from.Ports {
			if port.Name == get.Port.StrVal {
				c.healthy = (&url.URL{Scheme: "http", Host: fmt.Sprintf("%s:%d", name, port.ContainerPort)}).String() + get.Path
			}
		}
		all = append(all, c)
	}
	return all
}

// variable is the value of an environment variable of a pod.
func variable(t *testing.T, v corev1.EnvVar, pod string, before map[string]string, secret corev1.Secret) string {
	t.Helper()
	switch from := v.ValueFrom; {
	case from == nil:
		return regexp.MustCompile(`\$\((\w+)\)`).ReplaceAllStringFunc(v.Value, func(reference string) string {
			name := strings.Trim(reference, "$()")
			if _, known := before[name]; !known {
				t.Errorf("%s: %s refers to %s, which is not set before it", pod, v.Name, name)
			}
			return before[name]
		})
	case from.FieldRef != nil && from.FieldRef.FieldPath == "metadata.name":
		return pod
	case from.SecretKeyRef != nil && from.SecretKeyRef.Name == secret.Name && secret.Data[from.SecretKeyRef.Key] != nil:
		return string(secret.Data[from.SecretKeyRef.Key])
	}
	t.Fatalf("%s: nothing gives %s", pod, v.Name)
	return ""
}
