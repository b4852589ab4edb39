(* A checker of optimality certificates that the kernel can run. A certificate
   holds the problem of one target (the factor X, y of its moments and its
   prices), a point b, and a point e and a scale: the dual point is the scaled
   residual of e. `check` computes in fractions; where it says yes, b is feasible
   and within the tolerance of every feasible point, in every ordered field. How
   peaks, slopes and dual points are guessed needs no proof: what is guessed is
   checked. *)
From Coq Require Import ZArith QArith Qabs.
From mathcomp Require Import all_ssreflect all_algebra.
From unigrn Require Import frame ridge duality numbers computed.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Close Scope Q_scope.
Local Open Scope ring_scope.

Definition zero : Q := Qmake 0 1.
Definition two : Q := Qmake 2 1.
Definition at_ (s : seq Q) (k : nat) : Q := nth zero s k.
Definition minus (a b : Q) : Q := Qred (Qplus a (Qopp b)).
Definition lt (a b : Q) : bool := ~~ Qle_bool b a.

(* lists shorter than the sizes are 0 at the end, or unbounded, or in no group *)
Record certificate := Certificate {
  rows : seq (seq Q);             (* X, a row of numbers for each of y *)
  response : seq Q;               (* y *)
  point : seq Q;                  (* b *)
  other : seq Q;                  (* e, near b *)
  loss : Q;                       (* a *)
  lasso : seq Q;                  (* l1 of each entry *)
  ridge : seq Q;                  (* l2 of each entry *)
  low : seq (option Q);           (* box: None is no bound *)
  high : seq (option Q);
  group : seq (option nat);       (* number of the group of each entry *)
  price : seq Q;                  (* w of each group *)
  least : seq Q;                  (* c of each group: no entry of it has less ridge *)
  size_of : seq Q;                (* of each group, at least the norm of b in it *)
  slope_of : seq Q;               (* of each group, at least the norm of v in it *)
  scale : Q;                      (* u = scale (y - X e) *)
  tolerance : Q }.

Section Check.
Variable c : certificate.
Local Notation r := (size (response c)).
Local Notation q := (size (point c)).
Local Notation k := (size (price c)).

Definition entry (i : 'I_r) (j : 'I_q) : Q := nth zero (nth [::] (rows c) i) j.
Definition fitted (p : seq Q) (i : 'I_r) : Q :=
  total_Q (fun j : 'I_q => Qmult (entry i j) (at_ p j)).
Fixpoint ordinals n : seq 'I_n :=
  match n with 0 => [::] | m.+1 => ord0 :: [seq lift ord0 i | i <- ordinals m] end.

(* worked out once *)
Definition dual_point : seq Q :=
  [seq Qred (Qmult (scale c) (minus (at_ (response c) i) (fitted (other c) i))) | i : 'I_r <- ordinals r].
Definition slope_at (u : seq Q) (j : 'I_q) : Q :=
  Qred (Qmult (Qmult two (loss c)) (total_Q (fun i : 'I_r => Qmult (entry i j) (at_ u i)))).

Definition in_group (g : 'I_k) (j : 'I_q) : bool := nth None (group c) j == Some (g : nat).
Definition alone (j : 'I_q) : bool := if nth None (group c) j is Some g then (k <= g)%N else true.

Definition primal_Q : Q :=
  Qplus (Qmult (loss c) (total_Q (fun i : 'I_r => total_Q (fun _ : 'I_1 =>
      square_Q (Qplus (at_ (response c) i) (Qopp (fitted (point c) i)))))))
    (Qplus (total_Q (fun j : 'I_q => Qplus (Qmult (at_ (lasso c) j) (Qabs (at_ (point c) j)))
        (Qmult (at_ (ridge c) j) (square_Q (at_ (point c) j)))))
      (total_Q (fun g : 'I_k => Qmult (at_ (price c) g) (at_ (size_of c) g)))).

(* where v x - l1 |x| - l2 x^2 is largest over the box, guessed *)
Definition clip_Q (lo hi : option Q) (x : Q) : Q :=
  let x := if lo is Some l then if lt x l then l else x else x in
  if hi is Some h then if lt h x then h else x else x.
Definition peak (v : Q) (j : 'I_q) : Q :=
  let l1 := at_ (lasso c) j in let l2 := at_ (ridge c) j in
  let lo := nth None (low c) j in let hi := nth None (high c) j in
  let e := minus (Qabs v) l1 in
  let left := if lt zero e then e else zero in
  let side := if lt v zero then Qopp left else left in
  if lt zero l2 then clip_Q lo hi (Qred (Qmult side (Qinv (Qmult two l2))))
  else if lt zero side then odflt zero hi
  else if lt side zero then odflt zero lo
  else clip_Q lo hi zero.
Definition kink (v : Q) (j : 'I_q) (t : Q) : Q :=
  let l1 := at_ (lasso c) j in
  if lt zero t then l1 else if lt t zero then Qopp l1 else clip_Q (Some (Qopp l1)) (Some l1) v.

Definition end_at (o : option Q) (t : Q) : bool := if o is Some e then Qeq_bool e t else false.
Definition gain_Q (v : Q) (j : 'I_q) (t : Q) : Q :=
  Qplus (Qplus (Qmult v t) (Qopp (Qmult (at_ (lasso c) j) (Qabs t))))
        (Qopp (Qmult (at_ (ridge c) j) (square_Q t))).
Definition peaked (v : Q) (j : 'I_q) (t s : Q) : bool :=
  let l1 := at_ (lasso c) j in let l2 := at_ (ridge c) j in
  let g := Qplus (Qplus v (Qopp s)) (Qopp (Qmult (Qmult two l2) t)) in
  [&& Qle_bool (Qabs s) l1, Qeq_bool (Qmult s t) (Qmult l1 (Qabs t)),
      lt zero g ==> end_at (nth None (high c) j) t & lt g zero ==> end_at (nth None (low c) j) t].

Definition group_top_Q (g : 'I_k) : Q :=
  let w := at_ (price c) g in let t := at_ (slope_of c) g in
  if Qle_bool t w then zero
  else Qmult (square_Q (Qplus t (Qopp w))) (Qinv (Qmult (Qmake 4 1) (at_ (least c) g))).

Definition dual_Q (u : seq Q) (h : 'I_q -> Q) : Q :=
  Qplus (Qmult (loss c)
      (Qplus (Qmult two (total_Q (fun i : 'I_r => total_Q (fun _ : 'I_1 =>
          Qmult (at_ u i) (at_ (response c) i)))))
        (Qopp (total_Q (fun i : 'I_r => total_Q (fun _ : 'I_1 => square_Q (at_ u i)))))))
    (Qopp (Qplus (total_Q (fun j => if alone j then h j else zero)) (total_Q group_top_Q))).

Definition within_box (j : 'I_q) : bool :=
  (if nth None (low c) j is Some l then Qle_bool l (at_ (point c) j) else true) &&
  (if nth None (high c) j is Some h then Qle_bool (at_ (point c) j) h else true).

Definition norm_at_most (g : 'I_k) (x : 'I_q -> Q) (n : Q) : bool :=
  Qle_bool zero n &&
  Qle_bool (total_Q (fun j => if in_group g j then square_Q (x j) else zero)) (square_Q n).

Definition all_of n (p : 'I_n -> bool) : bool := all p (ordinals n).

Definition check : bool :=
  let u := dual_point in
  let v j := slope_at u j in
  [&& Qle_bool zero (loss c),
      all_of (fun j => [&& Qle_bool zero (at_ (lasso c) j), Qle_bool zero (at_ (ridge c) j),
                           within_box j
                         & alone j ==> let s := v j in let t := peak s j in
                                       peaked s j t (kink s j t)]),
      all_of (fun g => [&& Qle_bool zero (at_ (price c) g), Qle_bool zero (at_ (least c) g),
                           Qle_bool (at_ (slope_of c) g) (at_ (price c) g)
                             || lt zero (at_ (least c) g),
                           norm_at_most g (fun j => at_ (point c) j) (at_ (size_of c) g),
                           norm_at_most g v (at_ (slope_of c) g)
                         & all_of (fun j => in_group g j ==>
                                            Qle_bool (at_ (least c) g) (at_ (ridge c) j))])
    & Qle_bool (minus primal_Q (dual_Q u (fun j => let s := v j in gain_Q s j (peak s j))))
               (tolerance c)].

End Check.

(* the problem that a certificate states *)
Section Problem.
Variables (R : realFieldType) (c : certificate).
Local Notation r := (size (response c)).
Local Notation q := (size (point c)).
Local Notation k := (size (price c)).
Local Notation val := (@of_Q R).
Implicit Types (i : 'I_r) (j : 'I_q) (g : 'I_k).

Definition column n (s : seq Q) : 'cV[R]_n := \col_i val (at_ s i).
Definition matrix_of : 'M[R]_(r, q) := \matrix_(i, j) val (entry i j).
Definition l1_of j : R := val (at_ (lasso c) j).
Definition l2_of j : R := val (at_ (ridge c) j).
Definition low_of j : option R := omap val (nth None (low c) j).
Definition high_of j : option R := omap val (nth None (high c) j).
Definition group_of j : option 'I_k := obind insub (nth None (group c) j).
Definition price_of g : R := val (at_ (price c) g).
Definition least_of g : R := val (at_ (least c) g).

Definition problem := objective matrix_of (column r (response c)) (val (loss c))
  l1_of l2_of price_of.
Definition point_of : 'cV[R]_q := column q (point c).

Lemma ordinals_all n (p : 'I_n -> bool) : all_of p -> forall a, p a.
Proof.
rewrite /all_of; elim: n p => [|n IH] p /=; first by move=> _ [].
rewrite all_map => /andP[p0 ps] a; have [b ->|->] := unliftP ord0 a => //.
exact: (IH (fun b => p (lift ord0 b))).
Qed.

Lemma in_groupE g j : (group_of j == Some g) = in_group g j.
Proof.
rewrite /group_of /in_group; case: (nth _ _ _) => [a|] //=.
apply/eqP/eqP => [|[->]]; last exact: valK.
by case: insubP => // b _ <- [->].
Qed.

Lemma aloneE j : (group_of j == None) = alone j.
Proof.
rewrite /group_of /alone; case: (nth _ _ _) => [a|] //=.
by case: insubP => [b ba _|ba]; rewrite leqNgt ?ba ?(negbTE ba).
Qed.

Lemma val_ge0 a : (0 <= val a) = Qle_bool zero a.
Proof. by rewrite -[X in X <= _](of_Q0 R) of_Q_le. Qed.

Lemma val_lt a b : (val a < val b) = lt a b.
Proof. by rewrite ltNge of_Q_le. Qed.

Lemma val_minus a b : val (minus a b) = val a - val b.
Proof. by rewrite /minus of_Qred of_QD of_QN. Qed.

Lemma primalE : problem point_of (fun g => val (at_ (size_of c) g)) = val (primal_Q c).
Proof.
rewrite /problem /objective /primal_Q /l1_of /l2_of /price_of /point_of /norm2.
by repeat reckon_step.
Qed.

Lemma slopeE u j : slope matrix_of (val (loss c)) (column r u) j 0 = val (slope_at u j).
Proof. by rewrite /slope /slope_at of_Qred; repeat reckon_step. Qed.

Lemma group_topE g :
  group_top (price_of g) (least_of g) (val (at_ (slope_of c) g)) = val (group_top_Q g).
Proof.
rewrite /group_top /group_top_Q /price_of /least_of of_Q_le.
by apply: Q_if => //; repeat reckon_step.
Qed.

Lemma dualE u h : dual_value (column r (response c)) (val (loss c)) group_of (column r u)
  (fun j => val (h j)) (fun g => val (group_top_Q g)) = val (dual_Q u h).
Proof.
rewrite /dual_value /dual /dual_Q /inner /norm2; eapply Q_add; first by repeat reckon_step.
eapply Q_opp; eapply Q_add; last by repeat reckon_step.
rewrite big_mkcond; apply: Q_sum => j; apply: Q_if; first exact: aloneE.
  by [].
by rewrite of_Q0.
Qed.

Lemma peakedE (v t s : Q) j : Qle_bool zero (at_ (ridge c) j) -> peaked v j t s ->
  forall x, in_box (low_of j) (high_of j) x ->
  gain (val v) (l1_of j) (l2_of j) x <= val (gain_Q v j t).
Proof.
move=> l20 /and4P[sl st up down] x xb.
have -> : val (gain_Q v j t) = gain (val v) (l1_of j) (l2_of j) (val t).
  by apply/esym; rewrite /gain /gain_Q /l1_of /l2_of; repeat reckon_step.
have slope_val : val v - val s - 2%:R * l2_of j * val t =
    val (Qplus (Qplus v (Qopp s)) (Qopp (Qmult (Qmult two (at_ (ridge c) j)) t))).
  by rewrite /l2_of; repeat reckon_step.
apply: (entry_witness (s := val s) _ _ _ _ _ xb); rewrite ?slope_val -?(of_Q0 R) ?val_lt.
- by rewrite of_Q_le.
- by rewrite of_Q_norm of_Q_le.
- by rewrite of_Q_norm -!of_QM; apply/eqP; rewrite of_Q_eq.
- move/(implyP up); rewrite /end_at /high_of; case: (nth _ _ _) => //= h.
  by rewrite -(of_Q_eq R) => /eqP ->.
- move/(implyP down); rewrite /end_at /low_of; case: (nth _ _ _) => //= l.
  by rewrite -(of_Q_eq R) => /eqP ->.
Qed.

Lemma norm_at_mostE g x n : norm_at_most g x n ->
  norm_below (fun j => group_of j == Some g) (fun j => val (x j)) (val n).
Proof.
case/andP=> n0; rewrite -(of_Q_le R) => le; split; first by rewrite val_ge0.
have -> : \sum_(j | group_of j == Some g) val (x j) ^+ 2 =
    val (total_Q (fun j => if in_group g j then square_Q (x j) else zero)).
  rewrite big_mkcond; apply: Q_sum => j; apply: Q_if; first exact: in_groupE.
    exact: Q_sqr.
  by rewrite of_Q0.
by move: le; rewrite /square_Q [X in _ <= X]of_QM expr2.
Qed.

Theorem check_sound : check c ->
  feasible low_of high_of point_of /\
  forall m x n, norms group_of point_of m -> feasible low_of high_of x -> norms group_of x n ->
  problem point_of m <= problem x n + val (tolerance c).
Proof.
case/and4P=> a0 /ordinals_all entries_ok /ordinals_all groups_ok gap; split.
  move=> j; have /and4P[_ _ box _] := entries_ok j; move: box.
  rewrite /in_box /within_box /low_of /high_of mxE => /andP[].
  case: (nth _ _ _) => [l|] /=; case: (nth _ _ _) => [h|] /=;
    by rewrite -?(of_Q_le R).
set u := dual_point c in gap groups_ok entries_ok.
pose v j := slope_at u j; pose h j := gain_Q (v j) j (peak (v j) j).
have gap' : problem point_of (fun g => val (at_ (size_of c) g))
    - dual_value (column r (response c)) (val (loss c)) group_of (column r u)
        (fun j => val (h j)) (fun g => val (group_top_Q g)) <= val (tolerance c).
  by rewrite primalE dualE -val_minus of_Q_le.
move=> m x n; apply: (certified (c := least_of) _ _ _ _ _ _ _ gap').
- by rewrite val_ge0.
- by move=> j; rewrite val_ge0; have /and4P[] := entries_ok j.
- by move=> g; rewrite val_ge0; have /and5P[] := groups_ok g.
- move=> j g /eqP; rewrite in_groupE => gj; rewrite of_Q_le.
  have /and5P[_ _ _ _ /andP[_ /ordinals_all /(_ j) /implyP]] := groups_ok g.
  exact.
- move=> j /eqP; rewrite aloneE => al x' xb; rewrite slopeE.
  have /and4P[_ l20 _ /implyP /(_ al) pk] := entries_ok j.
  exact: (peakedE l20 pk).
- move=> g x' n' nx; rewrite -group_topE.
  have /and5P[_ g0 ok _ /andP[vt _]] := groups_ok g.
  rewrite (eq_bigr (fun j => val (v j) * x' j - least_of g * x' j ^+ 2)); last first.
    by move=> j _; rewrite slopeE.
  apply: group_bound nx; first by rewrite val_ge0.
    by case/orP: ok => [le|lt0]; [left; rewrite of_Q_le | right; rewrite -(of_Q0 R) val_lt].
  exact: norm_at_mostE vt.
- move=> g; have /and5P[_ _ _ bn _] := groups_ok g.
  have [n0 le] := norm_at_mostE bn; split=> //.
  by rewrite (eq_bigr (fun j => val (at_ (point c) j) ^+ 2)) // => j _; rewrite /entries mxE.
Qed.

End Problem.

(* (1 - x)^2 + |x| / 2 + (1 - z)^2 with z in [0, 1/4]: least at (3/4, 1/4), and nowhere else *)
Section Example.
Let q (a : Z) (b : positive) : Q := Qmake a b.

Definition example (x z : Q) : certificate :=
  Certificate [:: [:: q 1 1; q 0 1]; [:: q 0 1; q 1 1]] [:: q 1 1; q 1 1] [:: x; z] [:: x; z] (q 1 1)
    [:: q 1 2; q 0 1] [:: q 0 1; q 0 1] [:: None; Some (q 0 1)] [:: None; Some (q 1 4)]
    [:: None; None] [::] [::] [::] [::] (q 1 1) (q 0 1).

Theorem example_accepted : check (example (q 3 4) (q 1 4)).
Proof. by vm_compute. Qed.

Theorem example_rejected : ~~ check (example (q 3 4) (q 1 5)).
Proof. by vm_compute. Qed.

End Example.
