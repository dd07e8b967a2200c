const d=document,r=d.documentElement;r.classList.add('js');
const fr=r.dataset.decimal===',',by=new Intl.Collator(r.lang,{numeric:true}),
number=t=>{t=t.replace(/[\s\u202f\u00a0%+]/g,'').replace('−','-');t=fr?t.replace(',','.'):t.replace(/,/g,'');return t===''||isNaN(t)?null:+t};
for(const t of d.querySelectorAll('table.sort')){
t.tHead.addEventListener('click',e=>{const b=e.target.closest('button');if(!b)return;const h=b.parentNode,i=h.cellIndex,up=h.getAttribute('aria-sort')!=='ascending',n=h.classList.contains('n');
for(const o of t.tHead.rows[0].cells)o.removeAttribute('aria-sort');h.setAttribute('aria-sort',up?'ascending':'descending');
const rows=[...t.tBodies[0].rows].map(x=>{const s=x.cells[i].textContent.trim(),v=n?number(s):s==='–'?null:x.cells[i].dataset.v||s;return[v,x]});
rows.sort(([a],[z])=>(a===null)-(z===null)||(a===null?0:(up?1:-1)*(n?a-z:by.compare(a,z))));t.tBodies[0].append(...rows.map(x=>x[1]))});
if(t.tBodies[0].rows.length>12){const l=d.createElement('label'),f=d.createElement('input');f.type='search';l.className='filter';l.append(r.dataset.filter+' ',f);
f.addEventListener('input',()=>{const q=f.value.toLowerCase();for(const x of t.tBodies[0].rows)x.hidden=!x.textContent.toLowerCase().includes(q)});t.parentNode.before(l)}}
d.addEventListener('click',e=>{const a=e.target.closest('a[href="#x"][title]'),c=d.getElementById('typed');if(a&&c)c.textContent=a.title});
const p=d.createElement('div');p.className='tip';p.hidden=true;d.body.append(p);
for(const s of d.querySelectorAll('figure svg[role=img]')){s.addEventListener('pointermove',e=>{const x=e.target.querySelector(':scope>title');p.hidden=!x;if(x){p.textContent=x.textContent;p.style.left=Math.min(e.pageX+14,innerWidth-250)+'px';p.style.top=e.pageY+14+'px'}});
s.addEventListener('pointerleave',()=>p.hidden=true)}
