package runstore
import ("testing";"testing/synctest";"reflect")
func TestTmpSame(t *testing.T){
 diff:=0
 for seed:=range 300 { var a,b *world
  synctest.Test(t, func(*testing.T){a=schedule(uint64(seed),false)})
  synctest.Test(t, func(*testing.T){b=schedule(uint64(seed),false)})
  if !reflect.DeepEqual(a.figures,b.figures) || a.memory.version!=b.memory.version {diff++; t.Log(seed, a.memory.version,b.memory.version)}
 }
 t.Log(diff)
}
