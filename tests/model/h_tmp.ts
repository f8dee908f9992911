import { tryRun } from "./rm_tmp.ts";
import { randomOperations } from "./operations.ts";
import { Random } from "../verify/random.ts";
const seed=Number(Deno.args[0]);
for(let r=0;r<20;r++){const rs=(seed+r*7919)%2**31; const t=performance.now(); console.log(r, rs); const f=await tryRun(randomOperations(new Random(rs),150),rs); console.log("  ms",performance.now()-t, f?.message.slice(0,200));}
