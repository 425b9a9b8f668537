package scenario

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/retry"
)

// detaching is the finalizer by which a driver keeps a VolumeAttachment until its volume is detached.
const detaching = "external-attacher/disk-lab-upshift-dev"

// attacher: "attacher DURATION" plays the external attacher of all CSI drivers: what the attach-detach controller wants attached is so at
// once, and takes that long to be detached.
func attacher(ts *testscript.TestScript, _ bool, args []string) {
	takes, err := time.ParseDuration(args[0])
	ts.Check(err)
	client := Of(ts).Bed.Kube
	ctx, stop := context.WithCancel(context.Background())
	ts.Defer(stop)
	factory := informers.NewSharedInformerFactory(client, 0)
	see := func(object any) {
		if a, ok := object.(*storagev1.VolumeAttachment); ok {
			go attach(ctx, client, a, takes)
		}
	}
	_, err = factory.Storage().V1().VolumeAttachments().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: see, UpdateFunc: func(_, object any) { see(object) },
	})
	ts.Check(err)
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
}

// attached: "attached N" waits until so many volumes are attached.
func attached(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	attachments := Of(ts).Bed.Kube.StorageV1().VolumeAttachments()
	for ctx.Err() == nil {
		list, err := attachments.List(ctx, metav1.ListOptions{})
		ts.Check(err)
		got := 0
		for _, a := range list.Items {
			if a.Status.Attached {
				got++
			}
		}
		if got == want {
			return
		}
		next, err := attachments.Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
		ts.Check(err)
		<-next.ResultChan()
		next.Stop()
	}
	ts.Fatalf("after a minute there are not %d volumes attached", want)
}

// attach brings one attachment to where it should be. What fails because the scenario is over, or because the attachment is gone, is nobody's
// trouble; anything else shows in what the scenario waits for.
func attach(ctx context.Context, client kubernetes.Interface, a *storagev1.VolumeAttachment, takes time.Duration) {
	attachments := client.StorageV1().VolumeAttachments()
	held := func(a *storagev1.VolumeAttachment) bool { return slices.Contains(a.Finalizers, detaching) }
	change := func(change func(*storagev1.VolumeAttachment) (*storagev1.VolumeAttachment, error)) {
		_ = retry.RetryOnConflict(retry.DefaultRetry, func() error {
			now, err := attachments.Get(ctx, a.Name, metav1.GetOptions{})
			if err == nil && now.UID == a.UID {
				_, err = change(now)
			}
			if apierrors.IsNotFound(err) {
				return nil
			}
			return err
		})
	}
	switch {
	case a.DeletionTimestamp != nil && held(a):
		select {
		case <-time.After(takes): // how long it takes is what the scenario is about
		case <-ctx.Done():
			return
		}
		change(func(now *storagev1.VolumeAttachment) (*storagev1.VolumeAttachment, error) {
			now.Finalizers = slices.DeleteFunc(now.Finalizers, func(f string) bool { return f == detaching })
			return attachments.Update(ctx, now, metav1.UpdateOptions{})
		})
	case a.DeletionTimestamp == nil && !held(a):
		change(func(now *storagev1.VolumeAttachment) (*storagev1.VolumeAttachment, error) {
			now.Finalizers = append(now.Finalizers, detaching)
			return attachments.Update(ctx, now, metav1.UpdateOptions{})
		})
	case a.DeletionTimestamp == nil && !a.Status.Attached:
		change(func(now *storagev1.VolumeAttachment) (*storagev1.VolumeAttachment, error) {
			now.Status.Attached = true
			return attachments.UpdateStatus(ctx, now, metav1.UpdateOptions{})
		})
	}
}
