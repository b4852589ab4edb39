(* The objectives of the theorems, computed. At matrices of fractions, given as
   lists of rows, each objective is the value of a fraction that the kernel can
   run: `reckon` derives it from the definition, sum by sum and entry by entry.
   instances.py states values of the shipped specs with these. *)
From Coq Require Import ZArith QArith Qabs.
From mathcomp Require Import all_ssreflect all_algebra.
From unigrn Require Import frame ridge centring bootstrap support celloracle gaussian.
From unigrn Require Import completed_square netrex_cf evidence numbers.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Close Scope Q_scope.
Local Open Scope ring_scope.

Section Read.
Variable R : realFieldType.
Local Notation val := (@of_Q R).

Definition mk n m (s : seq (seq Q)) : 'M[R]_(n, m) :=
  \matrix_(i, j) val (nth (Qmake 0 1) (nth [::] s i) j).
Definition mkb n m (s : seq (seq bool)) : 'M[bool]_(n, m) :=
  \matrix_(i, j) nth false (nth [::] s i) j.

Fixpoint total_Q n : ('I_n -> Q) -> Q :=
  match n with
  | 0 => fun=> Qmake 0 1
  | k.+1 => fun f => Qred (Qplus (f ord0) (total_Q (fun i => f (lift ord0 i))))
  end.

Fixpoint most_Q n : ('I_n -> Q) -> Q :=
  match n with
  | 0 => fun=> Qmake 0 1
  | k.+1 => fun f => let a := f ord0 in let b := most_Q (fun i => f (lift ord0 i)) in
                     if Qle_bool b a then a else b
  end.

Fixpoint count_Q n : ('I_n -> bool) -> nat :=
  match n with
  | 0 => fun=> 0%N
  | k.+1 => fun f => (f ord0 + count_Q (fun i => f (lift ord0 i)))%N
  end.

Definition square_Q (q : Q) : Q := Qmult q q.
Definition bool_Q (b : bool) : Q := if b then Qmake 1 1 else Qmake 0 1.
Definition nat_Q (n : nat) : Q := inject_Z (Z.of_nat n).

Lemma Q_sum n (F : 'I_n -> R) f : (forall i, F i = val (f i)) -> \sum_i F i = val (total_Q f).
Proof.
elim: n F f => [|n IH] F f e; first by rewrite big_ord0 of_Q0.
by rewrite big_ord_recl e (IH _ (fun i => f (lift ord0 i))) // -of_QD -of_Qred.
Qed.

Lemma Q_most n (F : 'I_n -> R) f :
  (forall i, F i = val (f i)) -> \big[Num.max/0]_i F i = val (most_Q f).
Proof.
elim: n F f => [|n IH] F f e; first by rewrite big_ord0 of_Q0.
rewrite big_ord_recl e (IH _ (fun i => f (lift ord0 i))) //= -(of_Q_le R).
by case: leP.
Qed.

Lemma Q_count n (b c : 'I_n -> bool) : (forall i, b i = c i) -> (\sum_i b i)%N = count_Q c.
Proof.
elim: n b c => [|n IH] b c e; first by rewrite big_ord0.
by rewrite big_ord_recl e (IH _ (fun i => c (lift ord0 i))).
Qed.

Lemma Q_multiplier e h k k' : k = k' ->
  multiplier 0 (map val e) h k = val (multiplier (Qmake 0 1) e h k').
Proof.
move=> <-; case: k => [|k]; first by rewrite /= of_Q0.
rewrite /multiplier size_map; move: (minn _ _) => i; have [l|g] := ltnP i (size e).
  by rewrite -(nth_map _ 0).
by rewrite !nth_default ?size_map // of_Q0.
Qed.

Lemma Q_gt0 (x : R) a : x = val a -> (0 < x) = ~~ Qle_bool a (Qmake 0 1).
Proof. by move=> ->; rewrite ltNge -of_Q0 of_Q_le. Qed.

Lemma Q_add (x y : R) a b : x = val a -> y = val b -> x + y = val (Qplus a b).
Proof. by move=> -> ->; rewrite of_QD. Qed.

Lemma Q_opp (x : R) a : x = val a -> - x = val (Qopp a).
Proof. by move=> ->; rewrite of_QN. Qed.

Lemma Q_mul (x y : R) a b : x = val a -> y = val b -> x * y = val (Qmult a b).
Proof. by move=> -> ->; rewrite of_QM. Qed.

Lemma Q_inv (x : R) a : x = val a -> x^-1 = val (Qinv a).
Proof. by move=> ->; rewrite of_QV. Qed.

Lemma Q_sqr (x : R) a : x = val a -> x ^+ 2 = val (square_Q a).
Proof. by move=> ->; rewrite expr2 of_QM. Qed.

Lemma Q_norm (x : R) a : x = val a -> `|x| = val (Qabs a).
Proof. by move=> ->; rewrite of_Q_norm. Qed.

Lemma Q_nat n : n%:R = val (nat_Q n).
Proof. by rewrite of_Q_nat. Qed.

Lemma Q_bool (b c : bool) : b = c -> b%:R = val (bool_Q c).
Proof. by move=> ->; case: c; rewrite ?of_Q1 ?of_Q0. Qed.

Lemma Q_if (b c : bool) (x y : R) p q : b = c -> x = val p -> y = val q ->
  (if b then x else y) = val (if c then p else q).
Proof. by move=> -> -> ->; case: c. Qed.

Lemma Q_neq0 (x : R) a : x = val a -> (x != 0) = ~~ Qeq_bool a (Qmake 0 1).
Proof. by move=> ->; rewrite -of_Q0 of_Q_eq. Qed.

(* equality of values follows from equality of fractions *)
Lemma by_value (x : R) a b : x = val a -> Qeq_bool a b -> x = val b.
Proof. by move=> -> h; apply/eqP; rewrite of_Q_eq. Qed.

Lemma drawnE N n (draw : 'I_N -> 'I_n) i : (drawn draw i)%:R = \sum_k (draw k == i)%:R :> R.
Proof.
rewrite -natr_sum /drawn -sum1_card big_mkcond; congr _%:R.
by apply: eq_bigr => k _; rewrite inE.
Qed.

End Read.

Ltac reckon_step :=
  match goal with
  | |- forall _, _ => intro
  | |- of_Q _ _ = of_Q _ _ => reflexivity
  | |- @eq _ (BigOp.bigop _ _ _) _ => first [eapply Q_sum | eapply Q_most | eapply Q_count]
  | |- @eq _ (GRing.add _ _) _ => eapply Q_add
  | |- @eq _ (GRing.opp _) _ => eapply Q_opp
  | |- @eq _ (GRing.mul _ _) _ => eapply Q_mul
  | |- @eq _ (GRing.inv _) _ => eapply Q_inv
  | |- @eq _ (GRing.exp _ 2) _ => eapply Q_sqr
  | |- @eq _ (Num.Def.normr _) _ => eapply Q_norm
  | |- @eq _ (GRing.natmul (GRing.one _) (nat_of_bool _)) _ => eapply Q_bool
  | |- @eq _ (GRing.natmul (GRing.one _) (drawn _ _)) _ => eapply eq_trans; [apply drawnE | ]
  | |- @eq _ (GRing.natmul (GRing.one _) _) _ => eapply Q_nat
  | |- @eq _ (GRing.zero _) _ => exact (esym (of_Q0 _))
  | |- @eq _ (GRing.one _) _ => exact (esym (of_Q1 _))
  | |- @eq _ (if _ then _ else _) _ => eapply Q_if
  | |- @eq bool (~~ (_ == 0)) _ => eapply Q_neq0
  | |- @eq bool (0 < _) _ => eapply Q_gt0
  | |- @eq _ (multiplier _ _ _ _) _ => eapply Q_multiplier
  | |- @eq _ (fun_of_matrix _ _ _) _ => eapply eq_trans; [apply mxE | cbv beta]
  | |- @eq bool _ _ => reflexivity
  | |- @eq _ (mean _ _) _ => unfold mean
  | |- @eq _ (total _) _ => unfold total
  | |- @eq _ (mean_y _ _) _ => unfold mean_y
  | |- @eq _ (norm2 _) _ => unfold norm2
  | |- @eq _ (most _) _ => unfold most
  | |- @eq _ (layers_naming _ _ _) _ => unfold layers_naming
  end.
Ltac reckon := eexists; repeat reckon_step.

Section Objectives.
Variable R : realFieldType.
Local Notation val := (@of_Q R).
Local Notation mk := (@mk R _ _).
Implicit Types (X Y B E C S A U W w : seq (seq Q)).

(* a row that a bag draws, by its number *)
Definition row_of n (s : seq nat) N (k : 'I_N) : 'I_n.+1 :=
  Ordinal (ltn_pmod (nth 0%N s k) (ltn0Sn n)).

(* ridge at the best intercepts; w holds the weights of the cells, a row for each target *)
Definition ridge_at n q p X Y a w B : R :=
  let x : 'M_(n, q) := mk X in let y : 'M_(n, p) := mk Y in let weights j := row j (mk w) in
  ridge_frame x y (val a) weights (\row_j target_intercept x y weights j (col j (mk B)), mk B).

Theorem ridge_computed n q p X Y a w B : {v | ridge_at n q p X Y a w B = val v}.
Proof.
rewrite /ridge_at /ridge_frame /celloracle.L_data /target_intercept /best_intercept /=; reckon.
Defined.

(* one bag of it, the same for every target: D holds the numbers of the rows that it draws *)
Definition bag_at n q p N X Y a D B : R :=
  let x : 'M_(n.+1, q) := mk X in let y : 'M_(n.+1, p) := mk Y in
  let weights (_ : 'I_p) := \row_i (drawn (@row_of n D N) i)%:R in
  ridge_frame x y (val a) weights (\row_j target_intercept x y weights j (col j (mk B)), mk B).

Theorem bag_computed n q p N X Y a D B : {v | bag_at n q p N X Y a D B = val v}.
Proof.
rewrite /bag_at /ridge_frame /celloracle.L_data /target_intercept /best_intercept /=; reckon.
Defined.

(* lasso at the best intercepts *)
Definition lasso_at n q p X Y (s2 : seq Q) lambda B : R :=
  let x : 'M_(n, q) := mk X in let y : 'M_(n, p) := mk Y in
  let s (j : 'I_p) := val (nth (Qmake 0 1) s2 j) in
  lasso_frame x y s (val lambda)
    (\row_j target_intercept x y (noise_weight n s) j (col j (mk B)), mk B).

Theorem lasso_computed n q p X Y s2 lambda B : {v | lasso_at n q p X Y s2 lambda B = val v}.
Proof.
rewrite /lasso_at /lasso_frame /target_intercept /best_intercept /noise_weight /=; reckon.
Defined.

(* posterior mode of one target; t holds the standard deviations of the prior *)
Definition mode_at n q X y w s2 t B : R :=
  let weight : 'rV_n := mk w in
  minus_log_joint_each (centred_x weight (mk X : 'M_(n, q))) (centred_y weight (mk y))
    weight (val s2) (mk t) (mk B).

Theorem mode_computed n q X y w s2 t B : {v | mode_at n q X y w s2 t B = val v}.
Proof. rewrite /mode_at /minus_log_joint_each /wnorm2; reckon. Defined.

(* NetREX-CF as released, its weights from the layers V of the prior *)
Definition released_at n m l d h E (V : seq (seq (seq Q))) (e : seq Q) strength boost
    la ls rho eta0 S A U W : R :=
  @netrex_cf_of_evidence R n m l d h (mk E) (fun s => mk (nth [::] V s)) (map val e)
    (val strength) (val boost) (val la) (val ls) (val rho) (val eta0) (mk S, mk A, (mk U, mk W)).

Theorem released_computed n m l d h E V e strength boost la ls rho eta0 S A U W :
  {v | released_at n m l d h E V e strength boost la ls rho eta0 S A U W = val v}.
Proof.
rewrite /released_at /netrex_cf_of_evidence /netrex_cf /factor_part /entry_cost /released_eta.
rewrite /support_of /=; reckon.
Defined.

(* NetREX-CF as sketched, its confidence from the summed weights C of the prior *)
Definition sketched_at n m l d E C slope a1 a2 kappa lambda eta S A U W : R :=
  @sketched R n m l d (mk E) (sketched_named (mk C)) (sketched_conf (val slope) (mk C))
    (val a1) (val a2) (val kappa) (val lambda) (val eta) (mk S, mk A, (mk U, mk W)).

Theorem sketched_computed n m l d E C slope a1 a2 kappa lambda eta S A U W :
  {v | sketched_at n m l d E C slope a1 a2 kappa lambda eta S A U W = val v}.
Proof.
rewrite /sketched_at /sketched /sketched_factors /l0 /sketched_cost /support_of /=; reckon.
Defined.

(* the completed squares that edges cost at Q, added up with weights *)
Definition prices_at n m h (V : seq (seq (seq Q))) (e : seq Q) strength boost eta0 Q weight : R :=
  let v (s : 'I_h) := mk (nth [::] V s) : 'M[R]_(n, m) in let k := map val e in
  \sum_i \sum_j (mk weight : 'M_(n, m)) i j *
    price (val strength) (evidence_alpha v k i j) (evidence_beta v k (val boost) i j) (val eta0)
      (named v k i j) ((mk Q : 'M_(n, m)) i j).

Theorem prices_computed n m h V e strength boost eta0 Q weight :
  {v | prices_at n m h V e strength boost eta0 Q weight = val v}.
Proof. rewrite /prices_at /price /centre; reckon. Defined.

End Objectives.

(* a value of an objective, by its theorem: the fraction is run, and compared *)
Tactic Notation "evaluate" open_constr(computed) :=
  eapply by_value; [exact (svalP computed) | by vm_compute].
